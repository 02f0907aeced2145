"""Hook points by TransformerLens' names: where a latent may read, and where it may write.

A pass is resumed from the residual stream between blocks: a *site*, the number of layers below.
The MLP's contribution is added to the residual stream as it is, so that a write to hook_mlp_out
of block L is a write at site L + 1, exactly, in every family (in Gemma 2 and 3 that hook lies
behind the norm after the MLP). What attention adds passes through the block's MLP as well, so
nothing is written there. Reading is possible inside a block too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.families import Family, Parts, eps_of, first_tensor


@dataclass(frozen=True)
class Inside:
    """A place within a block: before the MLP's norm, its normalised state, the MLP's two ends."""

    layer: int
    where: Literal["mid", "normalized", "mlp_in", "mlp_out"]


Place = int | Inside
"""What a pass can be asked for: a site of the residual stream, or a place within a block."""

_SITES = {"hook_resid_pre": 0, "hook_in": 0, "hook_resid_post": 1, "hook_out": 1}
"""Layers of its own block that lie below a hook point of the residual stream."""

_INSIDE: dict[str, Literal["mid", "normalized", "mlp_in", "mlp_out"]] = {
    "hook_resid_mid": "mid",
    "hook_mlp_in": "mid",
    "ln2.hook_in": "mid",
    "ln2.hook_normalized": "normalized",
    "ln2.hook_out": "mlp_in",
    "mlp.hook_in": "mlp_in",
    "hook_mlp_out": "mlp_out",
}


def write_site(hook_point: str, num_layers: int, family: Family, model: str) -> int:
    """The site at which a write to the hook point takes effect. Raises SubjectError."""
    layer, name = _split(hook_point, num_layers, family)
    if layer is not None and name in _SITES:
        return layer + _SITES[name]
    if layer is not None and name == "hook_mlp_out":
        return layer + 1
    if layer is not None and (name in _INSIDE or name in ("hook_attn_out", "mlp.hook_out")):
        raise SubjectError(
            f"Hook point `{hook_point}` lies inside a block, and what is written there passes "
            f"through the rest of it: set hook_point to blocks.{layer}.hook_mlp_out or to a place "
            "of the residual stream between blocks."
        )
    raise _unknown(hook_point, num_layers, model)


def read_place(hook_point: str, num_layers: int, family: Family, model: str) -> Place:
    """The place that a hook point reads. Raises SubjectError."""
    layer, name = _split(hook_point, num_layers, family)
    if layer is not None and name in _SITES:
        return layer + _SITES[name]
    if layer is not None and name in _INSIDE:
        return Inside(layer, _INSIDE[name])
    raise _unknown(hook_point, num_layers, model)


def watch(parts: Parts, place: Place, keep: Callable[[Tensor], None]) -> RemovableHandle:
    """Give `keep` the tensor at a place in every pass, until the handle is removed."""
    if isinstance(place, int):
        return _before(entrance(parts, place), keep)
    layer, family = parts.layers[place.layer], parts.family
    match place.where:
        case "mid":
            return _before(getattr(layer, family.mlp_norm), keep)
        case "normalized":
            norm = getattr(layer, family.mlp_norm)
            return _before(norm, lambda h: keep(_normalized(h, norm, family)))
        case "mlp_in":
            return _before(getattr(layer, family.mlp), keep)
        case "mlp_out":
            last = getattr(layer, family.mlp_post_norm or family.mlp)
            return cast(
                RemovableHandle,
                last.register_forward_hook(lambda _module, _in, out: keep(first_tensor(out))),
            )


def entrance(parts: Parts, site: int) -> torch.nn.Module:
    """The module whose input is the residual stream at the site."""
    return parts.layers[site] if site < len(parts.layers) else parts.norm


def hidden_states(arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What a layer or norm was called on."""
    return cast(Tensor, arguments[0] if arguments else kwargs["hidden_states"])


def _before(module: torch.nn.Module, keep: Callable[[Tensor], None]) -> RemovableHandle:
    def hook(_module: torch.nn.Module, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(hidden_states(arguments, kwargs))

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _normalized(h_BTD: Tensor, norm: torch.nn.Module, family: Family) -> Tensor:
    """What TransformerLens calls hook_normalized: without the norm's gain and bias."""
    wide = h_BTD.float()
    if family.norm_kind == "layer":
        wide = wide - wide.mean(-1, keepdim=True)
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps_of(norm))
    return scaled.to(h_BTD.dtype)


def _split(hook_point: str, num_layers: int, family: Family) -> tuple[int | None, str]:
    found = re.fullmatch(r"blocks\.(\d+)\.([a-z0-9_.]+)", hook_point)
    if found is None or int(found[1]) >= num_layers:
        return None, ""
    # The tensor that is added to the residual stream has one name, whatever module ends with it.
    added = "mlp.hook_out" if family.mlp_post_norm is None else "ln2_post.hook_out"
    return int(found[1]), "hook_mlp_out" if found[2] == added else found[2]


def _unknown(hook_point: str, num_layers: int, model: str) -> SubjectError:
    return SubjectError(
        f"Hook point `{hook_point}` is not one of {model}'s that a pass can be resumed from; it "
        f"has blocks.0.hook_resid_pre, blocks.0.hook_resid_post, ... "
        f"blocks.{num_layers - 1}.hook_resid_post, and hook_mlp_out of each block."
    )
