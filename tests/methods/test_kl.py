"""KL in nats against the sum written out, and at its edges."""

import math

import pytest
import torch

from ray_autointerp.methods.kl import kl_divergence, mean_kl


def slow_kl(clean, clamped):
    p, q = ([math.exp(x) for x in row] for row in (clean, clamped))
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def test_kl_equals_the_sum_over_tokens_from_clean_to_clamped():
    draws = torch.Generator().manual_seed(0)
    clean_PV = torch.randn(3, 11, generator=draws)
    clamped_BPV = clean_PV + torch.randn(2, 3, 11, generator=draws)
    kl_BP = kl_divergence(clean_PV, clamped_BPV)
    for row in range(2):
        for prompt in range(3):
            expected = slow_kl(clean_PV[prompt].tolist(), clamped_BPV[row, prompt].tolist())
            assert kl_BP[row, prompt].item() == pytest.approx(expected, rel=1e-10)
    assert mean_kl(clean_PV, clamped_BPV).tolist() == pytest.approx(kl_BP.mean(1).tolist())


def test_kl_tiny_change_of_large_logits_has_correct_digits():
    """KL of a small shift is half its variance: 5e-9 would be lost in float32."""
    clean_PV = torch.full((1, 1000), 50.0)
    clamped_PV = clean_PV.double()
    clamped_PV[0, :500] += 1e-4
    clamped_PV[0, 500:] -= 1e-4
    kl = kl_divergence(clean_PV, clamped_PV[None]).item()
    assert kl == pytest.approx(math.log(math.cosh(1e-4)), rel=1e-4)


def test_kl_shift_of_all_logits_is_zero_and_never_negative():
    clean_PV = torch.randn(100, 50, generator=torch.Generator().manual_seed(2)).double()
    kl_BP = kl_divergence(clean_PV, torch.stack([clean_PV, clean_PV + 1 / 3]))
    assert (kl_BP >= 0).all() and kl_BP.max() < 1e-12


def test_kl_token_impossible_for_both_adds_nothing():
    clean_PV = torch.tensor([[0.0, 1.0, -torch.inf]])
    clamped_PV = torch.tensor([[1.0, 0.0, -torch.inf]])
    expected = kl_divergence(clean_PV[:, :2], clamped_PV[None, :, :2]).item()
    assert kl_divergence(clean_PV, clamped_PV[None]).item() == pytest.approx(expected)


def test_kl_token_impossible_only_when_clamped_is_infinite():
    clean_PV = torch.tensor([[0.0, 1.0]])
    assert kl_divergence(clean_PV, torch.tensor([[[0.0, -torch.inf]]])).item() == math.inf
