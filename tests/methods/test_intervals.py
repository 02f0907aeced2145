"""Intervals against their defining equations, tables and simulated coverage."""

import math
from statistics import NormalDist, fmean

import numpy as np
import pytest

from ray_autointerp.methods.intervals import (
    Interval,
    chance_verdict,
    crossed_bootstrap,
    t_interval,
    t_quantile,
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


@pytest.mark.parametrize(
    ("probability", "num_degrees", "expected"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 3, 3.1824),
        (0.975, 5, 2.5706),
        (0.95, 11, 1.7959),
        (0.995, 30, 2.7500),
        (0.975, 120, 1.9799),
        (0.5, 4, 0.0),
    ],
)
def test_t_quantile_equals_the_printed_table(probability, num_degrees, expected):
    assert t_quantile(probability, num_degrees) == pytest.approx(expected, abs=6e-5)


def test_t_interval_covers_the_mean_of_few_normal_values():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 4))
    intervals = [t_interval(row.tolist()) for row in draws]
    assert fmean(i.low <= 3 <= i.high for i in intervals) == pytest.approx(0.95, abs=0.015)


def test_t_interval_one_value_has_none():
    assert t_interval([1.0]) is None


def test_crossed_bootstrap_one_prompt_is_as_wide_as_the_mean_is_uncertain():
    values = np.random.default_rng(1).normal(size=400)
    interval = crossed_bootstrap(values.tolist(), list(range(400)), [0] * 400, seed=0)
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_crossed_bootstrap_covers_although_units_share_latents_and_prompts():
    """Effects of 30 latents and 12 prompts; treating 360 units as independent covers far less."""
    draws = np.random.default_rng(2)
    covered = 0
    for trial in range(150):
        latent_L = draws.normal(size=30)
        prompt_P = draws.normal(size=12)
        values = latent_L[:, None] + prompt_P + draws.normal(size=(30, 12))
        latents, prompts = np.indices((30, 12)).reshape(2, -1)
        interval = crossed_bootstrap(
            values.ravel().tolist(), latents.tolist(), prompts.tolist(), trial, num_resamples=400
        )
        covered += interval.low <= 0 <= interval.high
    assert 0.85 <= covered / 150 <= 1.0


def test_crossed_bootstrap_same_seed_same_interval_and_no_values_none():
    args = ([1.0, 2.0, 4.0], [0, 0, 1], [0, 1, 1])
    assert crossed_bootstrap(*args, seed=3) == crossed_bootstrap(*args, seed=3)
    assert crossed_bootstrap([], [], [], seed=3) is None


@pytest.mark.parametrize(
    ("rate", "num_trials", "verdict"),
    [
        (0.5, 1082, "at chance"),
        (0.52, 1082, "at chance"),
        (0.53, 20000, "at chance"),
        (0.6, 1082, "off chance"),
        (0.4, 1082, "off chance"),
        (0.54, 400, "too few trials to tell"),
        (0.5, 40, "too few trials to tell"),
        (0.59, 100, "too few trials to tell"),
        (0.41, 100, "too few trials to tell"),
        (1.0, 12, "off chance"),
    ],
)
def test_chance_verdict_says_no_more_than_the_trials_show(rate, num_trials, verdict):
    ninety = wilson_interval(rate, num_trials, 0.90)
    ninety_five = wilson_interval(rate, num_trials, 0.95)
    assert chance_verdict(ninety, ninety_five) == verdict


def test_chance_verdict_needs_about_a_thousand_trials_for_ninety_per_cent_power():
    draws = np.random.default_rng(3)

    def power(num_trials):
        rates = draws.binomial(num_trials, 0.5, 1000) / num_trials
        return fmean(
            chance_verdict(wilson_interval(r, num_trials, 0.9), wilson_interval(r, num_trials))
            == "at chance"
            for r in rates.tolist()
        )

    assert power(1082) == pytest.approx(0.9, abs=0.03)
    assert power(400) < 0.5
