"""Correlations of sparse activations against numpy's of the dense ones, and on SAELens' text."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sae_lens import StandardSAE, StandardSAEConfig
from sae_lens.synthetic import (
    ActivationGenerator,
    FeatureDictionary,
    init_sae_to_match_feature_dict,
)

from ray_autointerp.methods.activation_correlation import ActivationCorrelation, SparseActivations
from ray_autointerp.methods.match import NONE, match

Dense = npt.NDArray[np.float32]


def sparse(acts_TL: Dense) -> SparseActivations:
    tokens_E, latents_E = np.nonzero(acts_TL)
    return SparseActivations(tokens_E, latents_E, acts_TL[tokens_E, latents_E])


def correlations(
    new_TN: Dense, old_TM: Dense, olds_N: npt.NDArray[np.int64], piece: int
) -> npt.NDArray[np.float32]:
    sums = ActivationCorrelation(olds_N, old_TM.shape[1])
    for start in range(0, len(new_TN), piece):
        new, old = new_TN[start : start + piece], old_TM[start : start + piece]
        sums.add(sparse(new), sparse(old), len(new))
    return sums.correlations_N()


@given(st.integers(0, 10_000), st.integers(1, 60), st.floats(0.05, 0.9))
def test_correlations_are_numpys_however_the_text_is_cut(
    seed: int, piece: int, density: float
) -> None:
    draws = np.random.default_rng(seed)

    def activations(num_latents: int) -> Dense:
        shape = (50, num_latents)
        return (draws.gamma(2, size=shape) * (draws.random(shape) < density)).astype(np.float32)

    new_TN, old_TM = activations(6), activations(9)
    olds_N = draws.permutation(np.append(np.arange(9), [NONE] * 3))[:6]
    found_N = correlations(new_TN, old_TM, olds_N, piece)
    for new, old in enumerate(olds_N):
        pair = (new_TN[:, new], old_TM[:, old])
        if old == NONE or not any(acts.any() for acts in pair):
            assert np.isnan(found_N[new])
        elif not all(acts.any() for acts in pair):
            assert found_N[new] == 0
        else:
            assert found_N[new] == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-5)


def test_without_text_nothing_is_known() -> None:
    sums = ActivationCorrelation(np.array([1, NONE]), 2)
    assert np.isnan(sums.correlations_N()).all()


def test_correlation_tells_the_same_feature_from_an_equal_direction() -> None:
    """SAELens' features and text: the new SAE writes as the old one, half of it reads others."""
    num_features, d_model, num_tokens = 48, 64, 4000
    torch.manual_seed(0)
    features = FeatureDictionary(num_features, d_model, seed=0)
    h_TD = features(ActivationGenerator(num_features, 0.05).sample(num_tokens)).detach()
    order = torch.randperm(num_features)
    saes = []
    for ordering in (order, torch.arange(num_features)):
        sae = StandardSAE(StandardSAEConfig(d_model, num_features, apply_b_dec_to_input=False))
        init_sae_to_match_feature_dict(sae, features, 0.02, ordering)
        sae.b_enc.data.fill_(-0.5)
        saes.append(sae)
    new, old = saes
    new.W_enc.data[:, : num_features // 2] = new.W_enc[:, : num_features // 2].roll(1, dims=1)
    matches = match(new.W_dec.detach(), old.W_dec.detach(), 0.7)
    assert (matches.olds_N == order.numpy()).all()
    found_N = correlations(
        *(sae.encode(h_TD).detach().numpy() for sae in saes), matches.olds_N, 512
    )
    assert found_N[: num_features // 2].max() < 0.3 and found_N[num_features // 2 :].min() > 0.9
