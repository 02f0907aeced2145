"""Intervention surprisal of a few trials, by hand."""

import math

import pytest

from ray_autointerp.methods.intervention_surprisal import intervention_surprisal


def test_score_is_the_mean_difference_with_its_standard_error():
    score = intervention_surprisal([-10.0, -12.0, -8.0], [-13.0, -13.0, -13.0], 6)
    assert score.difference == 3.0  # of 3, 1 and 5, whose variance is 4
    assert score.se == pytest.approx(2 / math.sqrt(3))
    assert (score.difference_per_token, score.num_tokens) == (0.5, 6)


def test_one_trial_has_no_standard_error():
    score = intervention_surprisal([-10.0], [-8.0], 4)
    assert (score.difference, score.se, score.difference_per_token) == (-2.0, None, -0.5)
