"""Pairs of latents against a dense assignment, planted dictionaries and SAELens' own."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae_lens import StandardSAE, StandardSAEConfig
from sae_lens.synthetic import (
    FeatureDictionary,
    init_sae_to_match_feature_dict,
    mean_correlation_coefficient,
)
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ray_autointerp.methods.match import NONE, Matches, match


def cosines(W_new_ND: Tensor, W_old_MD: Tensor) -> npt.NDArray[np.float64]:
    """In double precision, 0 for rows of zeros."""
    new_ND, old_MD = (rows.double().numpy() for rows in (W_new_ND, W_old_MD))
    lengths_NM = np.outer(np.linalg.norm(new_ND, axis=1), np.linalg.norm(old_MD, axis=1))
    return new_ND @ old_MD.T / np.where(lengths_NM == 0, 1, lengths_NM)


def excess(olds_N: npt.NDArray[np.int64], cosines_NM: np.ndarray, threshold: float) -> float:
    """What a matching is worth; it must be one."""
    (matched,) = np.nonzero(olds_N != NONE)
    assert len(set(olds_N[matched])) == len(matched)
    found = cosines_NM[matched, olds_N[matched]]
    assert (found > threshold - 1e-6).all()
    return float((found - threshold).sum())


def most_excess(cosines_NM: np.ndarray, threshold: float) -> float:
    """By the dense Hungarian method: pairs not above the threshold are worth what no pair is."""
    worth_NM = np.maximum(cosines_NM - threshold, 0)
    padded = np.zeros((sum(worth_NM.shape),) * 2)
    padded[: len(worth_NM), : worth_NM.shape[1]] = worth_NM
    return float(padded[linear_sum_assignment(padded, maximize=True)].sum())


@st.composite
def dictionaries(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Few dimensions and small whole numbers: copies, ties, rows of zeros, many near neighbours."""
    d_model = draw(st.integers(1, 4))
    row = st.lists(st.integers(-2, 2), min_size=d_model, max_size=d_model)
    new, old = draw(st.lists(row, max_size=12)), draw(st.lists(row, max_size=12))
    return (
        torch.tensor(new, dtype=torch.float32).reshape(len(new), d_model),
        torch.tensor(old, dtype=torch.float32).reshape(len(old), d_model),
    )


@settings(max_examples=300)
@given(dictionaries(), st.floats(0.05, 0.95), st.integers(1, 15))
def test_no_matching_is_worth_more(
    rows: tuple[Tensor, Tensor], threshold: float, block_size: int
) -> None:
    found = match(*rows, threshold, num_candidates=12, block_size=block_size)
    cosines_NM = cosines(*rows)
    worth = excess(found.olds_N, cosines_NM, threshold)
    assert worth == pytest.approx(most_excess(cosines_NM, threshold), abs=1e-5)


@settings(max_examples=100)
@given(dictionaries(), st.floats(0.05, 0.95), st.integers(1, 3))
def test_few_candidates_still_give_a_matching(
    rows: tuple[Tensor, Tensor], threshold: float, num_candidates: int
) -> None:
    found = match(*rows, threshold, num_candidates, block_size=4)
    assert excess(found.olds_N, cosines(*rows), threshold) >= 0


@settings(max_examples=100)
@given(dictionaries(), st.floats(0.05, 0.95))
def test_cosines_runners_up_and_lost_are_those_of_a_loop(
    rows: tuple[Tensor, Tensor], threshold: float
) -> None:
    found, cosines_NM = match(*rows, threshold, block_size=3), cosines(*rows)
    for new, old in enumerate(found.olds_N):
        others = np.delete(cosines_NM[new], old) if old != NONE else cosines_NM[new]
        expected = [others.max(initial=-2), np.nan, np.nan]
        if old != NONE:
            rivals = np.delete(cosines_NM[:, old], new)
            expected[1:] = [cosines_NM[new, old], rivals.max(initial=-2)]
        row = [found.runner_up_old_N[new], found.cosines_N[new], found.runner_up_new_N[new]]
        missing = [np.nan if value == -2 else value for value in expected]
        np.testing.assert_allclose(row, missing, atol=1e-6)
    assert set(found.lost) == set(range(len(rows[1]))) - set(found.olds_N)
    assert list(found.lost) == sorted(found.lost)
    rivals_N = np.nan_to_num(np.stack([found.runner_up_old_N, found.runner_up_new_N]), nan=-2)
    is_known_N = (found.olds_N != NONE) & (rivals_N.max(axis=0) > -2)
    assert (np.isnan(found.margins_N) != is_known_N).all()
    known = found.cosines_N[is_known_N] - rivals_N.max(axis=0)[is_known_N]
    np.testing.assert_allclose(found.margins_N[is_known_N], known)


@dataclass(frozen=True)
class Planted:
    """Two dictionaries of which it is known which latent is which."""

    W_new_ND: Tensor
    W_old_MD: Tensor
    olds_N: npt.NDArray[np.int64]


def planted(
    num_kept: int, num_births: int, num_deaths: int, drift: float, d_model: int, seed: int = 0
) -> Planted:
    """Kept latents drift by `drift` times their length and are shuffled, births among them."""
    draws = torch.Generator().manual_seed(seed)

    def directions(count: int) -> Tensor:
        rows = torch.randn(count, d_model, generator=draws)
        return rows / rows.norm(dim=1, keepdim=True)

    W_old_MD = directions(num_kept + num_deaths)
    olds = torch.randperm(len(W_old_MD), generator=draws)[:num_kept]
    kept = W_old_MD[olds] + drift * directions(num_kept)
    truth = torch.cat([olds, torch.full((num_births,), NONE)])
    order = torch.randperm(len(truth), generator=draws)
    W_new_ND = torch.cat([kept, directions(num_births)])[order]
    return Planted(W_new_ND, W_old_MD, truth[order].numpy())


def precision_and_recall(found: Matches, truth: Planted) -> tuple[float, float]:
    is_right_N = (found.olds_N == truth.olds_N) & (truth.olds_N != NONE)
    made, there = (found.olds_N != NONE).sum(), (truth.olds_N != NONE).sum()
    return is_right_N.sum() / made, is_right_N.sum() / there


@pytest.mark.parametrize("drift", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("births", "deaths"), [(0, 0), (150, 50), (20, 200)])
def test_planted_latents_are_found_again(drift: float, births: int, deaths: int) -> None:
    """In 256 dimensions the nearest of 1,200 strangers has a cosine of about 0.2."""
    truth = planted(1000, births, deaths, drift, d_model=256)
    found = match(truth.W_new_ND, truth.W_old_MD, threshold=0.6)
    assert min(precision_and_recall(found, truth)) >= 0.99
    assert np.nanmedian(found.cosines_N) == pytest.approx(1 / np.hypot(1, drift), abs=0.01)
    assert np.median(found.runner_up_old_N) < 0.3
    assert len(found.lost) == pytest.approx(deaths, abs=10)


def test_threshold_that_drift_has_passed_leaves_all_alone() -> None:
    truth = planted(200, 0, 0, drift=1.0, d_model=128)
    found = match(truth.W_new_ND, truth.W_old_MD, threshold=0.9)
    assert (found.olds_N == NONE).all() and list(found.lost) == list(range(200))
    assert np.isnan(found.cosines_N).all()
    assert np.median(found.runner_up_old_N) == pytest.approx(0.7, abs=0.05)


def test_good_pair_is_not_broken_for_two_poor_ones() -> None:
    """Whole cosines would prefer 0.80 + 0.80 to 0.99; the nearest alone would be taken twice."""
    angles = {"old 0": 0.0, "new 0": 0.14, "new 1": -0.64, "old 1": 0.78}
    rows = {name: torch.tensor([[np.cos(a), np.sin(a)]]).float() for name, a in angles.items()}
    W_new_ND = torch.cat([rows["new 0"], rows["new 1"]])
    W_old_MD = torch.cat([rows["old 0"], rows["old 1"]])
    found = match(W_new_ND, W_old_MD, threshold=0.7)
    assert list(found.olds_N) == [0, NONE] and list(found.lost) == [1]
    assert found.runner_up_old_N[1] == pytest.approx(np.cos(0.64), abs=1e-6)
    assert found.runner_up_new_N[0] == pytest.approx(np.cos(0.64), abs=1e-6), "a rival is seen"
    found = match(W_new_ND, W_old_MD, threshold=0.1)
    assert list(found.olds_N) == [1, 0], "what a pair may cost depends on what one is worth"


def test_copies_share_the_old_copies_among_them() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0]])
    found = match(row.repeat(3, 1), 5 * row.repeat(2, 1), threshold=0.7)
    assert sorted(found.olds_N) == [NONE, 0, 1]
    assert np.nanmin(found.runner_up_old_N) == pytest.approx(1), "each could have been another"
    assert np.nanmin(found.runner_up_new_N) == pytest.approx(1)


def test_more_copies_than_candidates_are_still_paired_from_both_sides() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0]])
    found = match(row.repeat(6, 1), row.repeat(6, 1), threshold=0.7, num_candidates=3)
    assert sorted(found.olds_N) == list(range(6))


def test_dead_latents_are_never_matched() -> None:
    truth = planted(50, 0, 0, drift=0.1, d_model=32)
    truth.W_new_ND[:20] = 0
    truth.W_old_MD[truth.olds_N[10:30]] = 0
    found = match(truth.W_new_ND, truth.W_old_MD, threshold=0.65)
    assert (found.olds_N[:30] == NONE).all()
    assert (found.olds_N[30:] == truth.olds_N[30:]).all()
    assert (found.runner_up_old_N[:20] == 0).all()


@pytest.mark.parametrize("block_size", [1, 7, 64, 5000])
def test_block_size_does_not_change_the_result(block_size: int) -> None:
    truth = planted(100, 30, 10, drift=0.8, d_model=16)
    whole = match(truth.W_new_ND, truth.W_old_MD, 0.5)
    found = match(truth.W_new_ND, truth.W_old_MD, 0.5, block_size=block_size)
    assert (found.olds_N == whole.olds_N).all() and (found.lost == whole.lost).all()
    for name in ("cosines_N", "runner_up_old_N", "runner_up_new_N"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), atol=1e-6)


def test_no_latent_is_held_to_a_block_of_another_width() -> None:
    found = match(torch.ones(0, 4), torch.ones(3, 4), 0.7)
    assert len(found.olds_N) == 0 and list(found.lost) == [0, 1, 2]
    found = match(torch.ones(2, 4), torch.ones(0, 4), 0.7)
    assert list(found.olds_N) == [NONE] * 2 and np.isnan(found.runner_up_old_N).all()


def test_half_precision_and_length_of_rows_do_not_matter() -> None:
    truth = planted(200, 0, 0, drift=0.3, d_model=64)
    scales_N1 = torch.linspace(0.01, 100, 200)[:, None]
    found = match((truth.W_new_ND * scales_N1).half(), truth.W_old_MD.half(), 0.7)
    assert (found.olds_N == truth.olds_N).all()


def test_dictionaries_of_saelens_are_matched() -> None:
    """Features in superposition, spread by SAELens; its SAE has some in another order, with noise.

    Its mean correlation coefficient is the same assignment without a threshold.
    """
    num_features, width, d_model = 256, 192, 64
    torch.manual_seed(0)
    features = FeatureDictionary(num_features, d_model, seed=0)
    order = torch.randperm(num_features)[:width]
    sae = StandardSAE(StandardSAEConfig(d_model, width, apply_b_dec_to_input=False))
    init_sae_to_match_feature_dict(sae, features, noise_level=0.05, feature_ordering=order)
    W_new_ND, W_old_MD = sae.W_dec.detach(), features.feature_vectors.detach()
    found = match(W_new_ND, W_old_MD, threshold=0.7)
    assert (found.olds_N == order.numpy()).all()
    assert set(found.lost) == set(range(num_features)) - set(order.tolist())
    expected = mean_correlation_coefficient(W_new_ND, W_old_MD)
    assert found.cosines_N.mean() == pytest.approx(expected, abs=1e-5)
