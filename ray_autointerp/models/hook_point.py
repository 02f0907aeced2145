"""Hook points by TransformerLens' names: where a latent may read, and where it may write.

A pass is resumed from the residual stream: between blocks, or within a block between its attention
and its MLP. Such a *site* is a number of layers, or the `mid` of a block. What a block adds to the
stream is written at the site behind it, exactly, in every family: what the MLP adds (hook_mlp_out,
in Gemma 2 and 3 behind the norm after the MLP) between blocks, what attention adds in mid-block.
Where both read the same state (GPT-NeoX) both are added between blocks. A write to the heads'
outputs (attn.hook_z) goes through their projection first (attention_output.py). Reading is possible
in more places.
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

_Where = Literal["z", "attn_out", "mid", "normalized", "mlp_in", "mlp_out"]


@dataclass(frozen=True)
class Inside:
    """A place within a block: the heads' outputs, what attention adds, the state before the MLP's
    norm, that state normalised, the MLP's two ends.
    """

    layer: int
    where: _Where


Place = int | Inside
"""What a pass can be asked for: a site of the residual stream, or a place within a block."""

Site = int | Inside
"""Where a pass can be resumed: a number of layers, or a block's `mid`."""

_SITES = {"hook_resid_pre": 0, "hook_in": 0, "hook_resid_post": 1, "hook_out": 1}
"""Layers of its own block that lie below a hook point of the residual stream."""

_INSIDE: dict[str, _Where] = {
    "attn.hook_z": "z",
    "attn.o.hook_in": "z",
    "hook_attn_out": "attn_out",
    "hook_resid_mid": "mid",
    "hook_mlp_in": "mid",
    "ln2.hook_in": "mid",
    "ln2.hook_normalized": "normalized",
    "ln2.hook_out": "mlp_in",
    "mlp.hook_in": "mlp_in",
    "hook_mlp_out": "mlp_out",
}
_WRITTEN_MID = ("attn.hook_z", "attn.o.hook_in", "hook_attn_out", "hook_resid_mid")


@dataclass(frozen=True)
class Blocks:
    """What decides which hook points a model has."""

    model: str
    num_layers: int
    family: Family
    is_parallel: bool = False
    """Whether attention and MLP read the same state, so that there is none between them."""
    linear_layers: frozenset[int] = frozenset()
    """Blocks whose attention is linear: what it adds is known, but no heads' outputs."""

    def write_site(self, hook_point: str) -> Site:
        """The site at which a write to the hook point takes effect. Raises SubjectError."""
        layer, name = self._split(hook_point)
        if layer is not None and name in _SITES:
            return layer + _SITES[name]
        if layer is not None and name == "hook_mlp_out":
            return layer + 1
        if layer is not None and name in _WRITTEN_MID:
            return layer + 1 if self.is_parallel else Inside(layer, "mid")
        if layer is not None and (name in _INSIDE or name in ("attn.hook_out", "mlp.hook_out")):
            raise SubjectError(
                f"Hook point `{hook_point}` lies inside a block, and what is written there passes "
                f"through the rest of it: set hook_point to blocks.{layer}.hook_mlp_out, "
                f"blocks.{layer}.hook_attn_out or to a place of the residual stream."
            )
        raise self._unknown(hook_point)

    def read_place(self, hook_point: str) -> Place:
        """The place that a hook point reads. Raises SubjectError."""
        layer, name = self._split(hook_point)
        if layer is not None and name in _SITES:
            return layer + _SITES[name]
        if layer is not None and name in _INSIDE:
            return Inside(layer, _INSIDE[name])
        raise self._unknown(hook_point)

    def _split(self, hook_point: str) -> tuple[int | None, str]:
        if hook_point == "hook_embed":
            hook_point = "blocks.0.hook_resid_pre"
        hook_point = self._of_module(hook_point) or hook_point
        found = re.fullmatch(r"blocks\.(\d+)\.([a-z0-9_.]+)", hook_point)
        if found is None or int(found[1]) >= self.num_layers:
            return None, ""
        layer = int(found[1])
        has_no_heads = layer in self.linear_layers and _INSIDE.get(found[2]) == "z"
        if has_no_heads or (self.is_parallel and found[2] == "hook_resid_mid"):
            return None, ""
        # What is added to the residual stream has one name, whatever module ends with it.
        family = self.family
        added = {
            "mlp.hook_out" if family.mlp_post_norm is None else "ln2_post.hook_out": "hook_mlp_out",
            "attn.hook_out"
            if family.attention_post_norm is None
            else "ln1_post.hook_out": "hook_attn_out",
        }
        return layer, added.get(found[2], found[2])

    def _of_module(self, name: str) -> str | None:
        """The hook point of a Hugging Face module, such as `model.layers.3.mlp`: of its output, or
        by an ending of its `input`. None where it is no name of one.
        """
        family = self.family
        found = re.fullmatch(
            rf"(?:[a-z_]+\.)*{family.layers}\.(\d+)(?:\.((?!(?:in|out)put$)[a-z0-9_.]+?))?(?:\.(input|output))?",
            name,
        )
        if found is None:
            return None
        heads = f"{family.attention}.{family.attention_output}"
        points = {
            ("", "input"): "hook_resid_pre",
            ("", "output"): "hook_resid_post",
            (heads, "input"): "attn.hook_z",
            (heads, "output"): "attn.hook_out",
            (family.attention, "output"): "attn.hook_out",
            (family.attention_post_norm, "output"): "ln1_post.hook_out",
            (family.mlp_norm, "input"): "ln2.hook_in",
            (family.mlp_norm, "output"): "ln2.hook_out",
            (family.mlp, "input"): "mlp.hook_in",
            (family.mlp, "output"): "mlp.hook_out",
            (family.mlp_post_norm, "output"): "ln2_post.hook_out",
        }
        point = points.get((found[2] or "", found[3] or "output"))
        return None if point is None else f"blocks.{found[1]}.{point}"

    def _unknown(self, hook_point: str) -> SubjectError:
        return SubjectError(
            f"Hook point `{hook_point}` is not one of {self.model}'s that a pass can be resumed "
            f"from; it has blocks.0.hook_resid_pre, blocks.0.hook_resid_post, ... "
            f"blocks.{self.num_layers - 1}.hook_resid_post, and hook_resid_mid, hook_attn_out, "
            "attn.hook_z and hook_mlp_out of each block."
        )


def height(place: Place) -> float:
    """Places in the order in which a pass comes by them."""
    if isinstance(place, int):
        return place
    order: tuple[_Where, ...] = ("z", "attn_out", "mid", "normalized", "mlp_in", "mlp_out")
    return place.layer + (1 + order.index(place.where)) / (1 + len(order))


def watch(parts: Parts, place: Place, keep: Callable[[Tensor], None]) -> RemovableHandle:
    """Give `keep` the tensor at a place in every pass, until the handle is removed."""
    if isinstance(place, int):
        return _before(entrance(parts, place), keep)
    layer, family = parts.layers[place.layer], parts.family
    match place.where:
        case "z":
            return _before(parts.attention_output(place.layer), keep)
        case "attn_out":
            return _after(_attention_end(parts, place.layer), keep)
        case "mid":
            return _before(getattr(layer, family.mlp_norm), keep)
        case "normalized":
            norm = getattr(layer, family.mlp_norm)
            return _before(norm, lambda h: keep(_normalized(h, norm, family)))
        case "mlp_in":
            return _before(getattr(layer, family.mlp), keep)
        case "mlp_out":
            return _after(getattr(layer, family.mlp_post_norm or family.mlp), keep)


def change_at(
    parts: Parts, site: Site, change: Callable[[Tensor], Tensor]
) -> tuple[RemovableHandle, ...]:
    """Replace the residual stream at a site by what `change` makes of it, in every pass."""
    if isinstance(site, int):

        def hook(
            _module: torch.nn.Module, arguments: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            changed = change(hidden_states(arguments, kwargs))
            if arguments:
                return (changed, *arguments[1:]), kwargs
            return arguments, {**kwargs, "hidden_states": changed}

        module = entrance(parts, site)
        return (module.register_forward_pre_hook(hook, with_kwargs=True),)
    before: list[Tensor] = []

    def keep(h: Tensor) -> None:
        before[:] = [h]

    def add(_module: torch.nn.Module, _arguments: Any, output: Any) -> Any:
        # The block adds this to the state before it: so their sum is what `change` makes.
        h = before[0] + first_tensor(output)
        added = first_tensor(output) + (change(h) - h)
        return added if isinstance(output, Tensor) else (added, *output[1:])

    return (
        _before(parts.layers[site.layer], keep),
        _attention_end(parts, site.layer).register_forward_hook(add),
    )


def after_attention(parts: Parts, layer: int, mid_BTD: Tensor) -> Tensor:
    """The state behind a block [B, T, D] from its `mid`: what is left of it is its MLP."""
    block, family = parts.layers[layer], parts.family
    moved = getattr(block, family.mlp)(getattr(block, family.mlp_norm)(mid_BTD))
    added_BTD = first_tensor(moved)
    if family.mlp_post_norm is not None:
        added_BTD = getattr(block, family.mlp_post_norm)(added_BTD)
    return mid_BTD + added_BTD


def entrance(parts: Parts, site: int) -> torch.nn.Module:
    """The module whose input is the residual stream at the site."""
    return parts.layers[site] if site < len(parts.layers) else parts.norm


def hidden_states(arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What a layer or norm was called on."""
    return cast(Tensor, arguments[0] if arguments else kwargs["hidden_states"])


def _attention_end(parts: Parts, layer: int) -> torch.nn.Module:
    """The module whose output attention adds to the residual stream."""
    if parts.family.attention_post_norm is None:
        return parts.attention(layer)
    return cast(torch.nn.Module, getattr(parts.layers[layer], parts.family.attention_post_norm))


def _before(module: torch.nn.Module, keep: Callable[[Tensor], None]) -> RemovableHandle:
    def hook(_module: torch.nn.Module, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(hidden_states(arguments, kwargs))

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _after(module: torch.nn.Module, keep: Callable[[Tensor], None]) -> RemovableHandle:
    return module.register_forward_hook(lambda _module, _in, out: keep(first_tensor(out)))


def _normalized(h_BTD: Tensor, norm: torch.nn.Module, family: Family) -> Tensor:
    """What TransformerLens calls hook_normalized: without the norm's gain and bias."""
    wide = h_BTD.float()
    if family.norm_kind == "layer":
        wide = wide - wide.mean(-1, keepdim=True)
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps_of(norm))
    return scaled.to(h_BTD.dtype)
