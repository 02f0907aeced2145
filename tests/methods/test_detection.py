"""Scores of a judge's log-odds against slow definitions, blind judges and perfect ones."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.detection import detection_score, evenly

LOG_ODDS = st.lists(st.integers(-4, 4).map(lambda x: x / 2), min_size=1, max_size=12)


@given(LOG_ODDS, LOG_ODDS)
def test_rates_are_those_of_the_confusion_matrix(
    active: list[float], inactive: list[float]
) -> None:
    """An undecided answer is half a yes and half a no."""

    def yes(x: float) -> float:
        return 0.5 if x == 0 else float(x > 0)

    hits, alarms = sum(map(yes, active)), sum(map(yes, inactive))
    misses, rejected = len(active) - hits, len(inactive) - alarms
    score = detection_score(active, inactive, active)
    sensitivity, specificity = hits / (hits + misses), rejected / (rejected + alarms)
    assert score.balanced_accuracy == pytest.approx((sensitivity + specificity) / 2)
    assert score.f1 == pytest.approx(2 * hits / (2 * hits + alarms + misses))
    pairs = [(a, n) for a in active for n in inactive]
    wins = sum(1.0 if a > n else 0.5 if a == n else 0.0 for a, n in pairs)
    assert score.auroc == pytest.approx(wins / len(pairs))
    assert 0 <= score.auroc_low <= score.auroc <= score.auroc_high <= 1


@pytest.mark.parametrize("answer", [3.0, -3.0, 0.0])
def test_judge_that_says_the_same_of_everything_is_at_the_floor(answer: float) -> None:
    score = detection_score([answer] * 7, [answer] * 7, [1.0] * 7)
    assert (score.auroc, score.balanced_accuracy, score.average_precision) == (0.5, 0.5, 0.5)
    assert score.f1 == {3.0: pytest.approx(2 / 3), -3.0: 0, 0.0: 0.5}[answer]
    assert score.strength_spearman is None
    assert score.auroc_low < 0.5 < score.auroc_high


def test_perfect_judge_has_every_score_at_1_and_knows_how_strong_a_text_is() -> None:
    active = [1.0, 2.0, 4.0, 8.0, 9.0]
    score = detection_score(active, [-1.0] * 5, [math.log(x) for x in active])
    assert (score.auroc, score.balanced_accuracy, score.f1) == (1, 1, 1)
    assert (score.average_precision, score.strength_spearman) == (1, pytest.approx(1))
    assert score.auroc_low < 0.7 and score.auroc_high == 1, "five texts prove little"


@pytest.mark.parametrize("strengths", [[1.0, 2.0, 3.0, 4.0], [2.0] * 6])
def test_strength_of_few_or_equal_texts_is_not_ranked(strengths: list[float]) -> None:
    log_odds = [float(n) for n in range(len(strengths))]
    assert detection_score(log_odds, [0.0], strengths).strength_spearman is None


@given(st.integers(0, 60), st.integers(0, 30))
def test_evenly_takes_both_ends_and_steps_of_nearly_one_length(size: int, num_kept: int) -> None:
    kept = evenly(range(size), num_kept)
    assert len(kept) == min(size, num_kept) == len(set(kept))
    assert kept == sorted(kept)
    if 1 < num_kept <= size:
        assert (kept[0], kept[-1]) == (0, size - 1)
        steps = [after - before for before, after in zip(kept, kept[1:], strict=False)]
        assert max(steps) - min(steps) <= 1


def test_random_log_odds_are_at_the_floor() -> None:
    draw = random.Random(0)
    scores = [
        detection_score(*([draw.gauss(0, 1) for _ in range(5)] for _ in range(2)), [1.0] * 5)
        for _ in range(2000)
    ]
    for name in ("auroc", "balanced_accuracy"):
        mean = sum(getattr(score, name) for score in scores) / len(scores)
        assert mean == pytest.approx(0.5, abs=0.015), name
