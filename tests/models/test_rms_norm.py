"""The quick norm is Transformers' norm, in value and in gradient."""

import pytest
import torch
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm

from ray_autointerp.models.rms_norm import quicken_norms, unit_offset_norm


@pytest.fixture(params=[Gemma2RMSNorm, Gemma3RMSNorm])
def norm(request: pytest.FixtureRequest) -> torch.nn.Module:
    made: torch.nn.Module = request.param(48).requires_grad_(False)
    made.weight.copy_(torch.randn(48, generator=torch.Generator().manual_seed(0)))
    return made


def states(dtype: torch.dtype) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return (5 * torch.randn(3, 7, 48, generator=draws)).to(dtype).requires_grad_()


def test_equal_in_float32_with_gradients(norm: torch.nn.Module) -> None:
    x_XD = states(torch.float32)
    theirs, ours = norm(x_XD), unit_offset_norm(norm, x_XD)
    torch.testing.assert_close(ours, theirs)
    weights = torch.arange(float(theirs.numel())).reshape(theirs.shape)
    gradients = [torch.autograd.grad((y * weights).sum(), x_XD)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-2)


def test_within_two_roundings_in_bfloat16(norm: torch.nn.Module) -> None:
    norm.to(torch.bfloat16)
    x_XD = states(torch.bfloat16)
    torch.testing.assert_close(unit_offset_norm(norm, x_XD), norm(x_XD), rtol=2**-7, atol=0)


def test_nothing_changes_on_a_cpu(norm: torch.nn.Module) -> None:
    quicken_norms(norm)
    assert "forward" not in vars(norm)
