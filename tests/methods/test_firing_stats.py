"""Merging of firing statistics, and density, means and maxima from them."""

import itertools
import math

import numpy as np
import pytest

from ray_autointerp.methods.example_rank import NUM_BINS
from ray_autointerp.methods.firing_stats import FiringStats, latent_stats, merge_firing_stats


def stats_of(acts_NL, is_score_N):
    """Firing statistics by definition."""
    sides = [acts_NL[~is_score_N], acts_NL[is_score_N]]
    return FiringStats(
        np.array([len(side) for side in sides]),
        np.stack([(side > 0).sum(0) for side in sides], axis=1),
        np.stack([side.astype(np.float64).sum(0) for side in sides], axis=1),
        np.stack([side.max(0, initial=0) for side in sides], axis=1).astype(np.float32),
        np.stack([histogram(side) for side in sides], axis=1),
    )


def histogram(side):
    """Counts per power of two, from 2^-12, for each latent."""
    counts = np.zeros((side.shape[1], NUM_BINS), np.int64)
    for row, latent in zip(*np.nonzero(side > 0), strict=True):
        counts[latent, min(max(math.floor(math.log2(side[row, latent])) + 12, 0), 23)] += 1
    return counts


@pytest.fixture
def parts():
    draws = np.random.default_rng(3)
    found = []
    for _ in range(4):
        acts_NL = np.maximum(draws.normal(size=(50, 6)), 0).astype(np.float32)
        acts_NL[:, 4] = 0
        is_score_N = draws.random(50) < 0.4
        acts_NL[~is_score_N, 5] = 0
        found.append((acts_NL, is_score_N))
    return found


def test_merge_parts_equals_statistics_of_all_tokens(parts):
    merged = merge_firing_stats([stats_of(*part) for part in parts])
    whole = stats_of(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
    assert merged.num_tokens_S.tolist() == whole.num_tokens_S.tolist()
    assert merged.num_active_LS.tolist() == whole.num_active_LS.tolist()
    assert merged.histogram_LSB.tolist() == whole.histogram_LSB.tolist()
    assert merged.histogram_LSB.sum() == merged.num_active_LS.sum()
    assert merged.max_activation_LS.tolist() == whole.max_activation_LS.tolist()
    np.testing.assert_allclose(merged.sum_activation_LS, whole.sum_activation_LS, rtol=1e-14)


def test_merge_any_order_changes_no_bit():
    def part(total):
        ones = np.ones((1, 2), np.int64)
        most, bins = np.ones((1, 2), np.float32), np.zeros((1, 2, NUM_BINS), np.int64)
        return FiringStats(ones[0], ones, np.full((1, 2), total), most, bins)

    sums = {
        float(merge_firing_stats(list(order)).sum_activation_LS[0, 0])
        for order in itertools.permutations([part(1e16), part(1.0), part(1.0), part(1.0)])
    }
    assert sums == {1e16 + 3}


def test_latent_stats_are_density_mean_when_active_and_maxima_per_side(parts):
    acts_NL, is_score_N = parts[0]
    stats = latent_stats(stats_of(acts_NL, is_score_N))
    for latent in range(4):
        column = acts_NL[:, latent]
        assert stats.density_L[latent] == (column > 0).sum() / 50
        assert stats.mean_activation_L[latent] == pytest.approx(column[column > 0].mean(), rel=1e-6)
        assert stats.max_activation_L[latent] == column[~is_score_N].max()
        assert stats.max_activation_score_L[latent] == column[is_score_N].max()
        assert not stats.is_dead_L[latent]


def test_latent_stats_silent_latent_is_dead_and_its_values_null(parts):
    stats = latent_stats(stats_of(*parts[0]))
    assert stats.is_dead_L.tolist() == [False] * 4 + [True, False]
    assert stats.density_L[4] == 0
    assert stats.mean_activation_L[4] is np.ma.masked
    assert stats.max_activation_L[4] is np.ma.masked
    assert stats.max_activation_score_L[4] is np.ma.masked


def test_latent_stats_firing_on_score_side_only_is_alive_without_an_explain_maximum(parts):
    stats = latent_stats(stats_of(*parts[0]))
    assert stats.num_active_explain_L[5] == 0 and stats.num_active_score_L[5] > 0
    assert stats.max_activation_L[5] is np.ma.masked
    assert stats.max_activation_score_L[5] > 0


def test_latent_stats_no_tokens_has_density_zero():
    empty = stats_of(np.zeros((0, 2), np.float32), np.zeros(0, bool))
    assert latent_stats(empty).density_L.tolist() == [0, 0]
