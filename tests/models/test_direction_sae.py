"""Directions in place of latents: a clamp to c adds c times the direction, where clamps reach."""

from collections.abc import Callable

import torch

from ray_autointerp.models.clamped_pass import clamped_residual, clean_run
from ray_autointerp.models.direction_sae import direction_sae
from ray_autointerp.models.subject import Subject

Tiny = Callable[..., Subject]
HOOK = "blocks.1.hook_resid_post"


def test_clamp_adds_a_multiple_of_the_direction_where_latents_are_clamped(tiny: Tiny) -> None:
    subject = tiny("gpt2")
    width = subject.W_U_DV.shape[0]
    directions = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    sae = direction_sae(directions[:, None], [HOOK])
    assert (sae.hook_point, sae.read_point, sae.d_sae) == (HOOK, HOOK, 3)
    clean = clean_run(subject, sae, [0, 1, 2], torch.tensor([[0, 41, 77, 200, 33]]))
    assert not clean.acts_WTL.any()
    moved = clamped_residual(sae, clean, [2, 0], torch.tensor([4.0, -1.5]))
    mask_T1 = clean.mask_WT[0, :, None]
    assert mask_T1.any() and not mask_T1[0]
    for moved_TD, latent, value in zip(moved.h_BTD, (2, 0), (4.0, -1.5), strict=True):
        expected = clean.h_WTD[0] + value * directions[latent] * mask_T1
        torch.testing.assert_close(moved_TD, expected)


def test_directions_at_several_places_are_each_added_where_it_belongs(tiny: Tiny) -> None:
    subject = tiny("gpt2")
    width = subject.W_U_DV.shape[0]
    directions_LSD = torch.randn(2, 2, width, generator=torch.Generator().manual_seed(0))
    points = ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
    sae = direction_sae(directions_LSD, points)
    assert (sae.hook_point, sae.later_points) == (points[0], points[1:])
    clean = clean_run(subject, sae, [0, 1], torch.tensor([[0, 41, 77, 200, 33]]))
    moved = clamped_residual(sae, clean, [1], torch.tensor([3.0]))
    torch.testing.assert_close(
        moved.h_BTD[0], clean.h_WTD[0] + 3 * directions_LSD[1, 0] * clean.mask_WT[0, :, None]
    )
    (site,) = subject.sites(points[1:])
    added_BTD = moved.later.added_to(torch.zeros_like(moved.h_BTD), site)
    torch.testing.assert_close(
        added_BTD[0], 3 * directions_LSD[1, 1] * clean.mask_WT[0, :, None].float()
    )
