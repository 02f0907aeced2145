"""Where the parts of a subject lie that is spread over several GPUs.

The layers are cut into one consecutive run for each GPU. All else lies on the last GPU: embedding
(which may be one tensor with the unembedding), final norm and unembedding. What goes in and comes
out of a subject is on that one device; only its layers know of others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ray_autointerp.models.families import Family


def device_map(
    model: nn.Module, family: Family, devices: Sequence[torch.device], beside: int = 0
) -> dict[str, torch.device]:
    """By name, the device of every part of a model: of two or more, each holds about as much.

    The model may have no weights (`meta`). `beside` are the parameters of what else will lie on the
    last device.
    """
    body = model.get_submodule(family.body)
    layers = [_size(layer) for layer in getattr(body, family.layers)]
    total = _size(model) + beside
    # Where the last device is full without any layer, the others share them all.
    share = min(total / len(devices), sum(layers) / (len(devices) - 1))
    placed: dict[str, torch.device] = {}
    below = 0
    for number, size in enumerate(layers):
        run = min(int((below + size / 2) / share), len(devices) - 1)
        placed[f"{family.body}.{family.layers}.{number}"] = devices[run]
        below += size
    # Named one by one: under "" accelerate would move the whole model to the last device first.
    rest = [name for name, _ in model.named_children() if name != family.body]
    rest += [f"{family.body}.{name}" for name, _ in body.named_children() if name != family.layers]
    return placed | dict.fromkeys(rest, devices[-1])


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are."""
    return next(module.parameters()).device


def move_inputs(modules: Iterable[nn.Module]) -> None:
    """Before its forward pass, whatever a module is given is moved to where its weights are.

    Nothing is done where all of them are on one device.
    """
    modules = list(modules)
    if len(set(map(device_of, modules))) > 1:
        for module in modules:
            module.register_forward_pre_hook(_moved_here, with_kwargs=True)


def moved(value: Any, device: torch.device, done: dict[tuple[int, torch.device], Tensor]) -> Any:
    """Tensors on the device, in tuples and mappings too; anything else as it is.

    `done` holds what was moved before, so that what many layers are given is copied once for each
    device, not for each layer.
    """
    if isinstance(value, Tensor):
        if value.device == device:
            return value
        if (id(value), device) not in done:
            done[id(value), device] = value.to(device)
        return done[id(value), device]
    if isinstance(value, tuple):
        return tuple(moved(one, device, done) for one in value)
    if isinstance(value, Mapping):
        return {name: moved(one, device, done) for name, one in value.items()}
    return value


def _moved_here(
    module: nn.Module, arguments: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    device = device_of(module)
    return moved(arguments, device, {}), moved(kwargs, device, {})


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
