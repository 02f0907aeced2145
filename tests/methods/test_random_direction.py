"""Random directions: of the given norms, of their own seeds, and of no place in particular."""

import pytest
import torch

from ray_autointerp.methods.random_direction import random_directions


def test_direction_has_the_rows_norm_and_follows_from_its_seed_alone() -> None:
    rows_LD = torch.randn(6, 40, generator=torch.Generator().manual_seed(1)) * 3
    together = random_directions(rows_LD, [5, 6, 7, 8, 9, 10])
    assert together.dtype == rows_LD.dtype
    torch.testing.assert_close(together.norm(dim=1), rows_LD.norm(dim=1))
    alone = random_directions(rows_LD[3:4], [8])
    assert torch.equal(alone[0], together[3])
    assert torch.equal(random_directions(-rows_LD, [5, 6, 7, 8, 9, 10]), together)
    cosines = torch.nn.functional.normalize(together, dim=1) @ together.T
    assert not torch.allclose(cosines[0, 1:].abs(), together.norm(dim=1)[1:])


def test_directions_are_uniform_over_the_sphere() -> None:
    """Each coordinate has mean 0 and variance 1 / D; none is preferred."""
    units = random_directions(torch.ones(4000, 16), list(range(4000))) / 4
    assert units.mean(0).abs().max() < 5 / (4000 * 16) ** 0.5
    assert units.square().mean(0).tolist() == pytest.approx([1 / 16] * 16, rel=0.15)
