"""Gemma's RMS norm on a GPU in two kernels, where Transformers takes eight.

Transformers computes it step by step over float32 copies of the states: on a GPU, which computes
faster than it reads, the four norms of a Gemma 2 layer took two thirds as long as its matrix
products. The formula is the same, in float32 inside; the states are rounded to their dtype once
more, between division and gain.
"""

# X any leading dimensions, D d_model

from functools import partial

import torch
from torch import Tensor, nn

from ray_autointerp.models.families import eps_of

_UNIT_OFFSET = ("GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm")
"""Norms that multiply by 1 + weight."""


def quicken_norms(model: nn.Module) -> None:
    """In place, every such norm on a GPU; of other models, and on a CPU, nothing changes."""
    for module in model.modules():
        if type(module).__name__ in _UNIT_OFFSET and next(module.parameters()).is_cuda:
            module.forward = partial(unit_offset_norm, module)


def unit_offset_norm(norm: nn.Module, x_XD: Tensor) -> Tensor:
    """What the norm makes of states: x / rms(x) times 1 + weight."""
    assert isinstance(norm.weight, Tensor)
    scaled_XD = nn.functional.rms_norm(x_XD, norm.weight.shape, eps=eps_of(norm))
    return torch.addcmul(scaled_XD, scaled_XD, norm.weight)
