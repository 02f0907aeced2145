"""Decoder-nearest latents against a plain loop over pairs."""

import pytest
import torch

from ray_autointerp.methods.neighbours import nearest_neighbours


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_neighbours_any_chunk_equal_a_loop_over_pairs(chunk_size):
    W_dec_LD = torch.randn(11, 5, generator=torch.Generator().manual_seed(0))
    latents_Q = torch.tensor([4, 0, 10, 7])
    nearest = nearest_neighbours(W_dec_LD, latents_Q, 3, chunk_size)
    for row, latent in enumerate(latents_Q.tolist()):
        cosines = {
            other: float(
                (W_dec_LD[latent].double() @ W_dec_LD[other].double())
                / (W_dec_LD[latent].double().norm() * W_dec_LD[other].double().norm())
            )
            for other in range(11)
            if other != latent
        }
        expected = sorted(cosines, key=lambda other: -cosines[other])[:3]
        assert nearest.latents_QK[row].tolist() == expected
        for cosine, other in zip(nearest.cosines_QK[row].tolist(), expected, strict=True):
            assert cosine == pytest.approx(cosines[other], abs=1e-6)


def test_neighbours_scale_of_rows_does_not_matter_and_the_opposite_comes_last():
    W_dec_LD = torch.tensor([[1.0, 0.0], [100.0, 1.0], [-3.0, 0.0], [0.0, 0.01]])
    nearest = nearest_neighbours(W_dec_LD, torch.tensor([0]), 3)
    assert nearest.latents_QK.tolist() == [[1, 3, 2]]
    assert nearest.cosines_QK[0, 2].item() == pytest.approx(-1)


def test_neighbours_copies_tie_to_the_smaller_latent_and_a_zero_row_has_cosine_zero():
    W_dec_LD = torch.tensor([[0.0, 2.0], [0.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    nearest = nearest_neighbours(W_dec_LD, torch.tensor([3, 1]), 9)
    assert nearest.latents_QK.tolist() == [[0, 2, 1], [0, 2, 3]]
    assert nearest.cosines_QK.tolist() == [[1, 1, 0], [0, 0, 0]]


def test_neighbours_lone_latent_has_none():
    assert nearest_neighbours(torch.ones(1, 3), torch.tensor([0]), 5).latents_QK.shape == (1, 0)
