"""Intervals against defining equations, scipy, printed tables and simulated coverage."""

import math
from statistics import NormalDist, fmean, stdev

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from ray_autointerp.methods.input_score import auroc
from ray_autointerp.methods.intervals import (
    Interval,
    mann_whitney_interval,
    t_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("rate", "num_trials"), [(0.5, 12), (0.9, 10), (0.25, 4), (0.3, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_ends_are_the_rates_whose_test_just_rejects(rate, num_trials, level):
    z = NormalDist().inv_cdf((1 + level) / 2)
    interval = wilson_interval(rate, num_trials, level)
    for end in (interval.low, interval.high):
        assert abs(rate - end) / math.sqrt(end * (1 - end) / num_trials) == pytest.approx(z)
    assert interval.low < rate < interval.high


def test_wilson_all_or_nothing_keeps_a_width():
    assert wilson_interval(1.0, 12) == Interval(pytest.approx(0.7575, abs=1e-4), 1.0)
    assert wilson_interval(0.0, 12) == Interval(0.0, pytest.approx(0.2425, abs=1e-4))
    assert wilson_interval(0.0, 0) == Interval(0.0, 1.0)


@given(num_successes=st.integers(0, 40), num_failures=st.integers(0, 40))
def test_wilson_of_whole_successes_is_scipys(num_successes, num_failures):
    num_trials = num_successes + num_failures
    assume(num_trials > 0)
    expected = stats.binomtest(num_successes, num_trials).proportion_ci(0.95, method="wilson")
    found = wilson_interval(num_successes / num_trials, num_trials)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("num_values", "level", "quantile"),
    [(2, 0.95, 12.7062), (3, 0.95, 4.3027), (4, 0.95, 3.1824), (12, 0.9, 1.7959)],
)
def test_t_interval_is_as_wide_as_the_printed_table_says(num_values, level, quantile):
    values = [float(value) for value in range(num_values)]
    interval = t_interval(values, level)
    half = quantile * stdev(values) / math.sqrt(num_values)
    assert interval.high - fmean(values) == pytest.approx(half, rel=2e-5)
    assert fmean(values) - interval.low == pytest.approx(half, rel=2e-5)


def test_t_interval_of_equal_values_has_no_width():
    assert t_interval([2.0, 2.0, 2.0]) == Interval(2.0, 2.0)


def test_t_interval_covers_the_mean_of_few_normal_values():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 4))
    intervals = [t_interval(row.tolist()) for row in draws]
    assert fmean(i.low <= 3 <= i.high for i in intervals) == pytest.approx(0.95, abs=0.015)


def test_t_interval_one_value_has_none():
    assert t_interval([1.0]) is None


@pytest.mark.parametrize(("first", "second"), [(3, 3), (5, 5), (10, 10), (10, 5)])
@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_mann_whitney_interval_covers_what_it_says(first, second, distance):
    """Where DeLong's covers 0.24 to 0.93 (five texts of either kind, normal log-odds)."""
    draw = np.random.default_rng(0)
    true = NormalDist().cdf(distance / math.sqrt(2))
    covered = []
    for _ in range(1000):
        area = auroc(draw.normal(distance, 1, first), draw.normal(0, 1, second))
        interval = mann_whitney_interval(area, first, second)
        covered.append(interval.low <= true <= interval.high)
    assert 0.89 <= fmean(covered) <= 0.985


@given(wins=st.integers(0, 50), first=st.integers(1, 20), second=st.integers(1, 20))
def test_mann_whitney_ends_are_the_areas_whose_test_just_rejects(wins, first, second):
    area = wins / 50
    interval = mann_whitney_interval(area, first, second)
    others = (first + second) / 2 - 1
    for end in (interval.low, interval.high):
        assert 0 <= end <= 1
        if end not in (0, 1):
            spread = 1 + others * (1 - end) / (2 - end) + others * end / (1 + end)
            variance = end * (1 - end) * spread / (first * second)
            assert abs(area - end) / math.sqrt(variance) == pytest.approx(1.959964, rel=1e-4)
    assert interval.low <= area <= interval.high
    assert interval.high - interval.low > 0.05
    turned = mann_whitney_interval(1 - area, second, first)
    assert (1 - turned.high, 1 - turned.low) == pytest.approx((interval.low, interval.high))
