"""Refusal of SAEs with weights that are NaN, infinite, or too large for float32.

Each tensor is read in chunks of rows, so that memory is bounded whatever the SAE's width.
"""

# L d_sae

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ray_autointerp.errors import SaeError

_LATENT_DIM = {
    "W_enc": 1,
    "W_dec": 0,
    "b_enc": 0,
    "b_gate": 0,
    "b_mag": 0,
    "r_mag": 0,
    "threshold": 0,
    "encoder.weight": 0,
    "encoder.bias": 0,
}
"""The dimension of each tensor that runs over latents; the others are shared by all latents."""

_BY_LAYER = re.compile(r"(W_enc|W_dec|b_enc|threshold)_\d+")
"""Tensors of a cross-layer transcoder whose first dimension runs over latents."""

_CHUNK_NUMBERS = 2**24
"""Numbers of a tensor that are looked at together."""

_IDS_NAMED = 5
_TENSORS_NAMED = 3


@dataclass(frozen=True)
class _Fault:
    """What is wrong with one tensor."""

    name: str
    d_sae: int
    latents: list[int]
    """Latents concerned; empty for a tensor that all latents share."""

    def __str__(self) -> str:
        if not self.latents:
            return f"in {self.name}, which all latents share"
        more = ", ..." if len(self.latents) > _IDS_NAMED else ""
        ids = ", ".join(map(str, self.latents[:_IDS_NAMED]))
        return f"in {self.name} at {len(self.latents)} of {self.d_sae} latents ({ids}{more})"


def require_finite(source: str, tensors: Mapping[str, Any]) -> None:
    """Raises SaeError unless all numbers are finite in float32.

    `tensors`: torch tensors or safetensors slices, by their names in the SAE. The error says in
    which tensors and at which latents.
    """
    if faults := _faults(tensors):
        raise SaeError(
            f"The SAE {source} holds numbers that are NaN or infinite, {_listed(faults)}: "
            "take another copy or another checkpoint of it."
        )


def require_finite_file(source: str, file: Path) -> None:
    """The same of a safetensors file, of which a chunk is in memory at a time."""
    with safe_open(file, "pt") as tensors:
        require_finite(source, {name: tensors.get_slice(name) for name in tensors.keys()})  # noqa: SIM118


def _listed(faults: list[str]) -> str:
    others = len(faults) - _TENSORS_NAMED
    more = [f"and in {others} more tensor(s)"] if others > 0 else []
    return "; ".join([*faults[:_TENSORS_NAMED], *more])


def _faults(tensors: Mapping[str, Any]) -> list[str]:
    found = ((name, _is_bad(name, tensors[name])) for name in sorted(tensors))
    return [
        str(_Fault(name, len(is_bad), is_bad.nonzero().flatten().tolist()))
        for name, is_bad in found
        if is_bad is not None
    ]


def _is_bad(name: str, tensor: Any) -> Tensor | None:
    """Whether a latent's numbers are not all finite, [L]; None if those of all latents are.

    Of a tensor that all latents share, an empty tensor if they are not.
    """
    latent_dim = 0 if _BY_LAYER.fullmatch(name) else _LATENT_DIM.get(name)
    found: list[Tensor] = []
    is_any = False
    for chunk in _chunks(tensor):
        is_bad = _not_finite(chunk.float())
        is_any |= is_bad is not None
        if latent_dim is None:
            continue
        if is_bad is None:
            is_bad = torch.zeros(chunk.shape, dtype=torch.bool, device=chunk.device)
        others = [i for i in range(chunk.ndim) if i != latent_dim]
        found.append(is_bad.any(others) if others else is_bad)
    if not is_any:
        return None
    if latent_dim is None:
        return torch.zeros(0, dtype=torch.bool)
    return torch.stack(found).any(0) if latent_dim == 1 else torch.cat(found)


def _chunks(tensor: Any) -> Iterator[Tensor]:
    """The tensor, or its rows in chunks of bounded size."""
    shape = tuple(tensor.shape if isinstance(tensor, Tensor) else tensor.get_shape())
    if not shape:
        yield tensor[...]
        return
    per_row = max(1, torch.Size(shape[1:]).numel())
    rows = max(1, _CHUNK_NUMBERS // per_row)
    for start in range(0, shape[0], rows):
        yield tensor[start : start + rows]


def _not_finite(chunk: Tensor) -> Tensor | None:
    """Where the numbers are not finite; None if all are, found in one pass."""
    # NaN comes through: the extremes are finite exactly if all numbers are.
    if not chunk.numel() or bool(torch.stack(chunk.aminmax()).isfinite().all()):
        return None
    return ~chunk.isfinite()
