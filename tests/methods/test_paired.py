"""Paired statistics against slow references: dictionaries, enumeration, ranks by hand."""

from itertools import product
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ray_autointerp.methods.paired import (
    Scores,
    difference,
    mean_of,
    rank_correlation,
    shared,
)

TENTHS = st.integers(0, 10).map(lambda n: float(np.float32(n / 10)))
BY_LATENT = st.dictionaries(st.integers(0, 30), TENTHS, max_size=12)


def scores(by_latent: dict[int, float]) -> Scores:
    latents = sorted(by_latent)
    return Scores(np.array(latents, np.int64), np.array([by_latent[n] for n in latents]))


@given(BY_LATENT, BY_LATENT)
def test_difference_is_over_the_latents_that_have_both(
    one: dict[int, float], other: dict[int, float]
) -> None:
    both = sorted(one.keys() & other.keys())
    pair = shared(scores(one), scores(other))
    assert [side.tolist() for side in pair] == [[one[n] for n in both], [other[n] for n in both]]
    made, back = difference([pair], 1), difference([pair[::-1]], 1)
    assert (made.wins, made.ties, made.losses) == (
        sum(one[n] > other[n] for n in both),
        sum(one[n] == other[n] for n in both),
        sum(one[n] < other[n] for n in both),
    )
    assert (back.wins, back.losses, back.p) == (made.losses, made.wins, made.p)
    assert made.mean.num_latents == len(both)
    if both:
        assert made.mean.mean == pytest.approx(fmean(one[n] - other[n] for n in both))
    else:
        assert (made.mean.mean, made.mean.interval, made.p) == (None, None, None)


@pytest.mark.parametrize(
    "differences",
    [[0.9, -0.1, 0.4, 0.3, -0.2, 0.7, 0.5], [0.5, 0.5, -0.5, 0.25, 0.25, 0.0], [0.5], [0.0]],
)
def test_p_is_the_share_of_sign_flips_with_as_extreme_a_rank_sum(differences: list[float]) -> None:
    moved = [d for d in differences if d]
    ranks = [
        sum(abs(e) < abs(d) for e in moved) + sum(abs(e) == abs(d) for e in moved) / 2
        for d in moved
    ]
    ranks = [rank + 0.5 for rank in ranks]
    seen = abs(sum(r * (1 if d > 0 else -1) for r, d in zip(ranks, moved, strict=True)))
    flips = [
        abs(sum(r * sign for r, sign in zip(ranks, signs, strict=True)))
        for signs in product([-1, 1], repeat=len(ranks))
    ]
    made = difference([(np.array(differences), np.zeros(len(differences)))], 1)
    assert made.p == pytest.approx(fmean(flip >= seen for flip in flips))


def test_many_differences_have_wilcoxons_p() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, 40)
    made = difference([(differences, np.zeros(40))], 1)
    assert made.p == pytest.approx(stats.wilcoxon(differences).pvalue, rel=1e-3)


def test_last_bits_of_float32_make_no_ranks() -> None:
    """0.6 - 0.5 and 0.5 - 0.4 differ in their last bits alone."""
    one, other = (np.array(side, np.float32).astype(float) for side in ([0.6, 0.4], [0.5, 0.5]))
    assert difference([(one, other)], 1).p == 1


def test_two_saes_are_pooled() -> None:
    parts = [(np.array([1.0, 0.5]), np.array([0.0, 0.5])), (np.array([0.0]), np.array([0.5]))]
    made = difference(parts, 1)
    assert (made.wins, made.ties, made.losses, made.mean.mean) == (1, 1, 1, pytest.approx(0.5 / 3))


def test_bootstrap_interval_covers_the_mean_and_is_seeded() -> None:
    draw = np.random.default_rng(0)
    samples = draw.exponential(1.0, (300, 60))
    intervals = [mean_of(sample, 7).interval for sample in samples]
    covered = fmean(one is not None and one.low <= 1 <= one.high for one in intervals)
    assert 0.89 < covered < 0.98
    assert mean_of(samples[0], 7) == mean_of(samples[0], 7) != mean_of(samples[0], 8)
    assert mean_of(np.array([0.4]), 7).interval is None


@given(st.lists(st.tuples(TENTHS, TENTHS), max_size=15))
def test_rank_correlation_is_pearsons_of_mean_ranks(pairs: list[tuple[float, float]]) -> None:
    one, other = [p[0] for p in pairs], [p[1] for p in pairs]
    found = rank_correlation(np.array(one), np.array(other))
    if len(pairs) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        assert found is None
        return
    ranks = [
        [sum(y < x for y in side) + sum(y == x for y in side) / 2 for x in side]
        for side in (one, other)
    ]
    assert found == pytest.approx(np.corrcoef(ranks)[0, 1])
