"""GPUs that are not there: tensors have their numbers on the CPU and say that they lie on `cuda:1`.

A call into PyTorch that mixes two of them fails, as it would on real ones.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CPU = torch.device("cpu")


class PretendedGpus(TorchFunctionMode):
    """While it is entered, every tensor has a device of its own, kept beside it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:
            return device_of(args[0])
        if func == Tensor.is_cuda.__get__:
            return device_of(args[0]).type == "cuda"
        if func is Tensor.cpu:
            asked: torch.device | None = CPU
        else:
            asked = torch.device(kwargs.pop("device")) if kwargs.get("device") else None
        if func is Tensor.to:
            named = [one for one in args[1:] if isinstance(one, (str, torch.device))]
            args = (args[0], *(one for one in args[1:] if one not in named))
            asked = torch.device(named[0]) if named else asked
            if asked is not None and asked != device_of(args[0]):
                args = (args[0].clone(), *args[1:])
            if len(args) == 1 and not kwargs:
                args = (args[0], args[0].dtype)
        device = asked or _common_device(func, args, kwargs)
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            tensor.pretended = device  # type: ignore[attr-defined]
        return result


def put(module: nn.Module, device: torch.device) -> None:
    """All weights of a module on a device."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.pretended = device  # type: ignore[union-attr, assignment]


def device_of(tensor: Tensor) -> torch.device:
    """Where a tensor pretends to be."""
    return getattr(tensor, "pretended", CPU)


def _common_device(func: Any, args: Any, kwargs: Any) -> torch.device:
    given = list(_tensors((args, kwargs)))
    if func in (Tensor.__getitem__, Tensor.__setitem__):  # which take indices that are on the CPU
        given = [given[0], *(one for one in given[1:] if device_of(one) != CPU)]
    # A single number on the CPU goes with everything.
    devices = {device_of(one) for one in given if one.ndim or device_of(one) != CPU}
    assert len(devices) < 2, f"{func.__name__} of tensors on {sorted(map(str, devices))}"
    return devices.pop() if devices else CPU


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
