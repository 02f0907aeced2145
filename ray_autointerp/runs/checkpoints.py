"""The checkpoints of an SAE in training: folders under one prefix, each whole or still on its way.

Nothing marks a whole checkpoint: SAELens' trainers write different last files, and copies keep no
order. What is read here must be whole: the configuration parses, and the weights are as long as
their own header says.
"""

import json
import re
from dataclasses import dataclass

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.store import Store, open_store

_CONFIG = "cfg.json"
_WEIGHTS = ("sae_weights.safetensors", "sae.safetensors")
_LENGTH = 8
"""Bytes before a safetensors header, which hold its length, little-endian."""


@dataclass(frozen=True)
class Checkpoint:
    """One folder with an SAE, or a part of one."""

    name: str
    """Relative to the prefix."""
    uri: str
    missing: str | None
    """What is not there yet; None where the checkpoint is whole."""


def checkpoints(prefix: str) -> list[Checkpoint]:
    """Those under a local folder or `s3://bucket/prefix`, oldest first: by the numbers in their
    names (`step_900` before `step_1000`, as training writes them), then by name.

    Raises StoreError where there is none, or the store cannot be read.
    """
    store = open_store(prefix)
    files = store.list("")
    folders: dict[str, set[str]] = {}
    for name in files:
        folder, _, file = name.rpartition("/")
        if folder and file in (_CONFIG, *_WEIGHTS):
            folders.setdefault(folder, set()).add(file)
    if not folders:
        raise StoreError(
            f"There is no checkpoint below {prefix}: each is a folder with {_CONFIG} and "
            f"{_WEIGHTS[0]}."
        )
    return [
        Checkpoint(name, f"{prefix.rstrip('/')}/{name}", _missing(store, name, folders[name]))
        for name in sorted(folders, key=_age)
    ]


def _age(name: str) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", name)], name


def _missing(store: Store, folder: str, files: set[str]) -> str | None:
    if _CONFIG not in files:
        return f"it has no {_CONFIG} yet"
    try:
        json.loads(store.get(f"{folder}/{_CONFIG}"))
    except ValueError:
        return f"its {_CONFIG} is not whole yet"
    weights = next((name for name in _WEIGHTS if name in files), None)
    if weights is None:
        return f"it has no {_WEIGHTS[0]} yet"
    if not _is_whole(store, f"{folder}/{weights}"):
        return f"its {weights} is not whole yet"
    return None


def _is_whole(store: Store, name: str) -> bool:
    """Whether a safetensors file is as long as its header says."""
    size = store.size(name)
    if size < _LENGTH:
        return False
    length = int.from_bytes(store.get_range(name, 0, _LENGTH), "little")
    if _LENGTH + length > size:
        return False
    try:
        header = json.loads(store.get_range(name, _LENGTH, length))
        ends = [
            tensor["data_offsets"][1]
            for tensor_name, tensor in header.items()
            if tensor_name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return _LENGTH + length + max(ends, default=0) == size
