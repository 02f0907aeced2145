"""Clean keys and values of the positions before a clamp, so that only what follows is run again.

A clamp at a late position changes nothing before it: the clean pass's keys and values serve every
latent, and of each window only the suffix from the first clamped position on goes through the
layers (methods 9.5).
"""

# B rows, W clean windows, T positions of a window, S positions of a suffix, D d_model

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ray_autointerp.models.hook_point import Site

KeysAndValues = dict[int, tuple[Tensor, Tensor]]
"""By layer index: keys and values [W, heads, T, width of a head]."""


@dataclass(frozen=True)
class Prefix:
    """A clean pass over some windows above a site, with what later suffixes attend to."""

    site: Site
    normed_WTD: Tensor
    """Final normed states."""
    layers: KeysAndValues
    h_WTD: Tensor | None = None
    """The clean states at the site, where some layer has no keys: a suffix is then run with all
    that is before it."""


def joined_prefixes(parts: Sequence[Prefix]) -> Prefix:
    """The windows of several clean passes as one."""
    return Prefix(
        parts[0].site,
        torch.cat([part.normed_WTD for part in parts]),
        {
            layer: (
                torch.cat([part.layers[layer][0] for part in parts]),
                torch.cat([part.layers[layer][1] for part in parts]),
            )
            for layer in parts[0].layers
        },
        None if parts[0].h_WTD is None else torch.cat([_states(part) for part in parts]),
    )


def whole_windows(prefix: Prefix, h_BSD: Tensor, windows_B: Tensor, places_BS: Tensor) -> Tensor:
    """The clean states [B, T, D] of each row's window, with the suffix in its place."""
    whole_BTD = _states(prefix)[windows_B]
    rows_B1 = torch.arange(len(whole_BTD), device=whole_BTD.device)[:, None]
    whole_BTD[rows_B1, places_BS] = h_BSD
    return whole_BTD


def _states(prefix: Prefix) -> Tensor:
    assert prefix.h_WTD is not None, "every layer has keys"
    return prefix.h_WTD


@dataclass
class KeptKeys:
    """Stands where a Hugging Face layer expects its cache, and keeps what passes through."""

    layers: KeysAndValues = field(default_factory=dict)

    def update(
        self, keys: Tensor, values: Tensor, layer_index: int, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by the layer's attention with its new keys and values."""
        self.layers[layer_index] = (keys, values)
        return keys, values


@dataclass(frozen=True)
class JoinedKeys:
    """The same place, for suffixes: clean keys of the row's window first, the row's own after."""

    layers: KeysAndValues
    windows_B: Tensor

    def update(
        self, keys: Tensor, values: Tensor, layer_index: int, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """Keys and values [B, heads, T + S, width] of one layer."""
        clean_keys, clean_values = self.layers[layer_index]
        windows_B = self.windows_B.to(keys.device)
        return (
            torch.cat([clean_keys[windows_B], keys], 2),
            torch.cat([clean_values[windows_B], values], 2),
        )


def named_arguments(
    layer: nn.Module, rest: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What a layer is given beside the hidden states, by name: families differ in the order."""
    names = list(inspect.signature(layer.forward).parameters)[1 : 1 + len(rest)]
    return {**dict(zip(names, rest, strict=True)), **kwargs}


def with_cache(named: Mapping[str, Any], keys: KeptKeys | JoinedKeys) -> dict[str, Any]:
    """The arguments with the cache under the name that the family gives it."""
    name = next(name for name in ("past_key_values", "layer_past") if name in named)
    return {**named, name: keys}


def suffix_arguments(named: Mapping[str, Any], places_BS: Tensor, dtype: torch.dtype) -> Any:
    """A layer's arguments for a whole window, cut to suffixes at some places of it.

    Rotary embeddings and position ids follow the places. The mask lets a place see the clean
    keys before its row's suffix, and of the suffix what the layer's own mask lets it see.
    """
    num_positions = _num_positions(named)
    return {
        **named,
        **{name: _at(named[name], places_BS) for name in _PLACED if named.get(name) is not None},
        "attention_mask": _mask(named.get("attention_mask"), places_BS, num_positions, dtype),
    }


_PLACED = ("position_embeddings", "position_ids")


def _num_positions(named: Mapping[str, Any]) -> int:
    return int(named["position_ids"].shape[1])


def _at(value: Any, places_BS: Tensor) -> Any:
    if isinstance(value, tuple):
        return tuple(_at(part, places_BS) for part in value)
    return value[0][places_BS]


def _mask(
    whole: Tensor | None, places_BS: Tensor, num_positions: int, dtype: torch.dtype
) -> Tensor:
    """[B, 1, S, T + S], in the form the layer was given for the whole window."""
    if whole is None:
        ones = torch.ones(num_positions, num_positions, dtype=torch.bool, device=places_BS.device)
        seen_TT = ones.tril()
    else:
        seen_TT = whole[0, 0] if whole.dtype == torch.bool else whole[0, 0] == 0
    before_BS1T = torch.arange(num_positions, device=places_BS.device) < places_BS[:, :1, None]
    clean_BST = seen_TT[places_BS] & before_BS1T
    own_BSS = seen_TT[places_BS[:, :, None], places_BS[:, None, :]]
    seen_B1SK = torch.cat([clean_BST, own_BSS], -1)[:, None]
    if whole is None or whole.dtype == torch.bool:
        return seen_B1SK
    hidden = torch.finfo(whole.dtype).min
    return torch.zeros_like(seen_B1SK, dtype=dtype).masked_fill(~seen_B1SK, hidden)
