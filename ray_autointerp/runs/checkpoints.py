"""The checkpoints of an SAE in training: folders under one prefix, each whole or still on its way.

Nothing marks a whole checkpoint: SAELens' trainers write different last files, and copies keep no
order. What is read here must be whole: the configuration parses, and the weights are as long as
their own header says.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from ray_autointerp.errors import StoreError
from ray_autointerp.models.cross_layer import CONFIG as CROSS_LAYER_CONFIG
from ray_autointerp.models.cross_layer import layer_files
from ray_autointerp.storage.store import Store, open_store

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


@dataclass(frozen=True)
class _Layout:
    """The files of a whole checkpoint."""

    config: str
    parse: Callable[[bytes], Any]
    """Raises ValueError or yaml.YAMLError where the configuration is cut off."""
    weights: tuple[tuple[str, ...], ...]
    """Any of these sets of files."""


_SAE = _Layout("cfg.json", json.loads, (("sae_weights.safetensors",), ("sae.safetensors",)))


def checkpoints(prefix: str, layer: int | None = None) -> list[Checkpoint]:
    """Those under a local folder or `s3://bucket/prefix`, oldest first: by the numbers in their
    names (`step_900` before `step_1000`, as training writes them), then by name. With `layer`,
    those of cross-layer transcoders, of which that layer's files must be whole.

    Raises StoreError where there is none, or the store cannot be read.
    """
    layout = _SAE
    if layer is not None:
        layout = _Layout(CROSS_LAYER_CONFIG, yaml.safe_load, (layer_files(layer),))
    store = open_store(prefix)
    files = store.list("")
    known = {layout.config, *(name for names in layout.weights for name in names)}
    folders: dict[str, set[str]] = {}
    for name in files:
        folder, _, file = name.rpartition("/")
        if folder and file in known:
            folders.setdefault(folder, set()).add(file)
    if not folders:
        is_cross_layer = any(name.endswith(f"/{CROSS_LAYER_CONFIG}") for name in files)
        raise StoreError(
            f"There is no checkpoint below {prefix}: each is a folder with {layout.config} and "
            f"{' and '.join(layout.weights[0])}."
            + (" Of cross-layer transcoders, set `layer` in the [[sae]]." if is_cross_layer else "")
        )
    return [
        Checkpoint(
            name, f"{prefix.rstrip('/')}/{name}", _missing(store, name, folders[name], layout)
        )
        for name in sorted(folders, key=_age)
    ]


def _age(name: str) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", name)], name


def _missing(store: Store, folder: str, files: set[str], layout: _Layout) -> str | None:
    if layout.config not in files:
        return f"it has no {layout.config} yet"
    try:
        layout.parse(store.get(f"{folder}/{layout.config}"))
    except (ValueError, yaml.YAMLError):
        return f"its {layout.config} is not whole yet"
    begun = (names for names in layout.weights if files.intersection(names))
    for name in next(begun, layout.weights[0]):
        if name not in files:
            return f"it has no {name} yet"
        if not _is_whole(store, f"{folder}/{name}"):
            return f"its {name} is not whole yet"
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
