"""Input scores against their definitions, with ties, BOS-like floors and empty sides."""

import itertools
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.input_score import (
    SentenceActivation,
    auroc,
    average_precision,
    input_score,
)
from ray_autointerp.methods.intervals import t_interval

LEVELS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.25])
SIDE = st.lists(LEVELS, min_size=1, max_size=8)


def sentences(activating, neutral, draw=0):
    return [SentenceActivation(draw, True, a) for a in activating] + [
        SentenceActivation(draw, False, a) for a in neutral
    ]


@given(activating=SIDE, neutral=SIDE)
def test_auroc_equals_the_share_of_pairs_won(activating, neutral):
    pairs = list(itertools.product(activating, neutral))
    won = sum(1.0 if a > n else 0.5 if a == n else 0.0 for a, n in pairs)
    assert auroc(activating, neutral) == pytest.approx(won / len(pairs))
    assert auroc(activating, neutral) + auroc(neutral, activating) == pytest.approx(1)


def slow_average_precision(activating, neutral):
    """By its definition: the sum over thresholds of (R_n - R_n-1) P_n."""
    area = recall_before = 0.0
    for threshold in sorted({*activating, *neutral}, reverse=True):
        right = sum(x >= threshold for x in activating)
        wrong = sum(x >= threshold for x in neutral)
        recall = right / len(activating)
        area += (recall - recall_before) * right / (right + wrong)
        recall_before = recall
    return area


@given(activating=SIDE, neutral=SIDE)
def test_average_precision_is_the_sum_over_thresholds(activating, neutral):
    found = average_precision(activating, neutral)
    assert found == pytest.approx(slow_average_precision(activating, neutral))
    assert input_score(sentences(activating, neutral), 1.0).average_precision == found


@pytest.mark.parametrize(
    ("activating", "neutral", "expected"),
    [
        ([2.0, 1.0], [0.0, 0.0, 0.0], 1.0),
        ([0.0, 0.0], [0.0, 0.0, 0.0], 2 / 5),
        ([3.0, 0.0], [2.0, 0.0], (1 + 2 / 4) / 2),
    ],
)
def test_average_precision_of_ties_is_taken_together(activating, neutral, expected):
    assert average_precision(activating, neutral) == pytest.approx(expected)


@given(values=st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=10))
def test_score_equal_sides_is_the_sum_of_differences_over_n(values):
    activating, neutral = zip(*values, strict=True)
    score = input_score(sentences(activating, neutral), max_activation=4.0)
    expected = sum(a - n for a, n in values) / len(values)
    assert score.difference == pytest.approx(expected)
    assert score.difference_over_max == pytest.approx(expected / 4)
    assert score.hit_rate == sum(a > 0 for a in activating) / len(values)
    assert score.num_activating == score.num_neutral == len(values)


def test_score_unequal_sides_is_the_difference_of_means():
    score = input_score(sentences([3.0, 5.0, 4.0], [1.0]), 10.0)
    assert score.difference == 3.0 and score.num_activating == 3 and score.num_neutral == 1


@pytest.mark.parametrize(
    ("activating", "neutral", "success"),
    [
        ([2.0, 0.0], [0.0, 0.5], 1.0),
        ([0.0, 0.5], [2.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 0.0], 0.5),
        ([0.1, 0.2, 0.7], [0.7, 0.1, 0.2], 0.5),
    ],
)
def test_paper_success_compares_means_and_halves_ties(activating, neutral, success):
    assert input_score(sentences(activating, neutral), 1.0).paper_success == success


def test_score_silent_latent_is_a_tie_not_a_failure_and_has_no_relative_difference():
    score = input_score(sentences([0.0] * 5, [0.0] * 5), max_activation=None)
    assert (score.difference, score.auroc, score.hit_rate) == (0.0, 0.5, 0.0)
    assert score.difference_over_max is None


@pytest.mark.parametrize(("activating", "neutral"), [([], [1.0]), ([1.0], []), ([], [])])
def test_score_empty_side_is_null_and_keeps_its_counts(activating, neutral):
    score = input_score(sentences(activating, neutral), 1.0)
    assert score.difference is score.difference_over_max is score.auroc is None
    assert score.average_precision is None
    assert score.hit_rate is score.paper_success is score.difference_interval is None
    assert (score.num_activating, score.num_neutral) == (len(activating), len(neutral))


def test_difference_interval_counts_answers_not_sentences():
    draws = [([3.0, 5.0], [1.0, 1.0]), ([2.0, 2.0], [0.0, 1.0]), ([6.0, 6.0], [2.0, 0.0])]
    rows = [row for draw, sides in enumerate(draws) for row in sentences(*sides, draw)]
    expected = t_interval([fmean(a) - fmean(n) for a, n in draws])
    assert input_score(rows, 1.0).difference_interval == expected
    one_sided = SentenceActivation(9, True, 100.0)
    assert input_score([*rows, one_sided], 1.0).difference_interval == expected
    assert input_score(rows[:4], 1.0).difference_interval is None
