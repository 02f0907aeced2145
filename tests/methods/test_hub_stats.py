"""Hub statistics in closed form against logits written out for every latent."""

import pytest
import torch

from ray_autointerp.methods.hub_stats import hub_stats


@pytest.mark.parametrize("chunk_size", [3, 1000])
def test_hub_stats_equal_mean_and_sd_of_all_projected_logits(chunk_size):
    draws = torch.Generator().manual_seed(0)
    x_LD = torch.randn(50, 7, generator=draws)
    W_U_DV = torch.randn(7, 13, generator=draws)
    b_U_V = torch.randn(13, generator=draws)
    stats = hub_stats(x_LD, W_U_DV, b_U_V, chunk_size)
    logits_LV = x_LD.double() @ W_U_DV.double() + b_U_V.double()
    torch.testing.assert_close(stats.mean_V, logits_LV.mean(0).float())
    torch.testing.assert_close(stats.sd_V, logits_LV.std(0, correction=0).float())


def test_hub_stats_spread_far_below_the_mean_survives():
    """mean 1,000, sd 0.01: mean of squares minus square of mean has no digit left in float32."""
    x_LD = torch.tensor([[1000.0 - 0.0098, 1.0], [1000.0 + 0.0098, 1.0]])
    sd = hub_stats(x_LD, torch.tensor([[1.0], [0.0]])).sd_V.item()
    assert sd == pytest.approx((x_LD[1, 0] - x_LD[0, 0]).item() / 2, rel=1e-6)


def test_hub_stats_latents_all_alike_have_no_spread():
    stats = hub_stats(torch.ones(9, 4), torch.randn(4, 6))
    assert stats.sd_V.tolist() == [0.0] * 6
