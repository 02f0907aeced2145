"""The Jacobian by gradients against central differences of the same pass, in every family."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.subject import Subject


def test_rows_equal_gradients_through_the_whole_model(
    tiny: Callable[..., Subject],
    plain: Callable[[str], Any],
    windows_WT: Tensor,
    model_type: str,
) -> None:
    """Hugging Face's own pass, with the states behind a block put in by a hook."""
    subject, site = tiny(model_type), 2
    h_WTD = subject.residual(windows_WT, site)
    mask_WT = position_mask(subject, windows_WT, h_WTD, site)
    rows_KWD = window_jacobians(subject, h_WTD, mask_WT, site, range(3, 5))
    model, seen = plain(model_type), []
    leaf_WTD = h_WTD.clone().requires_grad_()
    family = subject.card.family
    stack = model.model if hasattr(model, "model") else model
    stack = getattr(stack, "language_model", stack)
    stack = getattr(stack, family.body, stack)
    handles = [
        getattr(stack, family.layers)[site - 1].register_forward_hook(
            lambda _module, _in, out: leaf_WTD if isinstance(out, Tensor) else (leaf_WTD, *out[1:])
        ),
        getattr(stack, family.norm).register_forward_hook(
            lambda _module, _in, out: seen.append(out)
        ),
    ]
    model(windows_WT)
    for handle in handles:
        handle.remove()
    counted_WT1 = mask_WT[..., None]
    total_D = (seen[0].float() * counted_WT1).sum((0, 1))
    for row_WD, direction in zip(rows_KWD, range(3, 5), strict=True):
        (gradient_WTD,) = torch.autograd.grad(total_D[direction], leaf_WTD, retain_graph=True)
        expected_WD = (gradient_WTD * counted_WT1).sum(1)
        torch.testing.assert_close(row_WD, expected_WD, rtol=1e-3, atol=1e-3)


SMOOTH = ["gemma", "gemma2", "gemma3", "gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"]
"""Without experts, whose choice jumps, and without Qwen 3.5's rule, which bends within the step."""


@pytest.mark.parametrize("model_type", SMOOTH)
@pytest.mark.parametrize("hook_point", ["blocks.1.hook_resid_post", "blocks.1.hook_attn_out"])
def test_rows_equal_central_differences_window_by_window(
    tiny: Callable[..., Subject], windows_WT: Tensor, model_type: str, hook_point: str
) -> None:
    """All counted positions move together; BOS and specials neither move nor count."""
    subject = tiny(model_type)
    site = subject.site(hook_point)
    h_WTD = subject.residual(windows_WT, site)
    mask_WT = position_mask(subject, windows_WT, h_WTD, site)
    assert not bool(mask_WT.all())
    directions = range(3, 6)
    rows_KWD = window_jacobians(subject, h_WTD, mask_WT, site, directions)
    assert rows_KWD.shape == (3, 3, h_WTD.shape[2]) and rows_KWD.dtype == torch.float32
    step = 1e-2 * float(h_WTD[mask_WT].norm(dim=-1).median())
    for coordinate in (0, 7, 31):
        moved_WTD = torch.zeros_like(h_WTD)
        moved_WTD[..., coordinate] = step * mask_WT
        change_WTD = subject.resume(h_WTD + moved_WTD, site) - subject.resume(
            h_WTD - moved_WTD, site
        )
        slope_WD = (change_WTD.double() * mask_WT[..., None]).sum(1) / (2 * step)
        expected_KW = slope_WD[:, directions.start : directions.stop].T
        scale = float(rows_KWD.abs().max())
        torch.testing.assert_close(
            rows_KWD[..., coordinate].double(), expected_KW, rtol=0.03, atol=0.02 * scale
        )


def test_subject_that_was_loaded_inside_inference_mode_has_gradients(
    tiny_folder: Callable[[str], str], windows_WT: Tensor
) -> None:
    with torch.inference_mode():
        subject = Subject.load(tiny_folder("qwen3_moe"), device="cpu")
        h_WTD = subject.residual(windows_WT, 2)
        mask_WT = torch.ones(windows_WT.shape, dtype=torch.bool)
        rows_KWD = window_jacobians(subject, h_WTD, mask_WT, 2, range(2))
    assert rows_KWD.abs().max() > 0


def test_gradients_are_asked_for_inside_inference_mode_too(
    tiny: Callable[..., Subject], windows_WT: Tensor
) -> None:
    """A worker's earlier passes leave nothing behind that autograd cannot use."""
    subject = tiny("llama")
    with torch.inference_mode():
        h_WTD = subject.residual(windows_WT, 1)
        subject.resume(h_WTD, 1)
        mask_WT = torch.ones(windows_WT.shape, dtype=torch.bool)
        rows_KWD = window_jacobians(subject, h_WTD, mask_WT, 1, range(2))
    assert rows_KWD.abs().max() > 0
