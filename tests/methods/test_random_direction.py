"""Random directions: of the given norms, of their own seeds, and of no place in particular."""

import pytest
import torch

from ray_autointerp.methods.random_direction import random_directions


def test_direction_has_its_rows_norm_and_follows_from_its_seed_alone() -> None:
    rows_LSD = torch.randn(6, 2, 40, generator=torch.Generator().manual_seed(1)) * 3
    seeds = [5, 6, 7, 8, 9, 10]
    together = random_directions(rows_LSD, seeds)
    assert together.dtype == rows_LSD.dtype
    torch.testing.assert_close(together.norm(dim=-1), rows_LSD.norm(dim=-1))
    alone = random_directions(rows_LSD[3:4], [8])
    assert torch.equal(alone[0], together[3])
    assert torch.equal(random_directions(-rows_LSD, seeds), together)
    flat = torch.nn.functional.normalize(together, dim=-1).flatten(0, 1)
    assert (flat @ flat.T).fill_diagonal_(0).abs().max() < 0.8, "no two are one"


def test_directions_are_uniform_over_the_sphere() -> None:
    """Each coordinate has mean 0 and variance 1 / D; none is preferred."""
    units = random_directions(torch.ones(4000, 1, 16), list(range(4000)))[:, 0] / 4
    assert units.mean(0).abs().max() < 5 / (4000 * 16) ** 0.5
    assert units.square().mean(0).tolist() == pytest.approx([1 / 16] * 16, rel=0.15)
