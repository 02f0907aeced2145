"""Scores as pages show them: intervals, floors, ceilings, and the sentence made of them."""

from typing import Any

import pytest

from ray_autointerp.methods.intervals import mann_whitney_interval
from ray_autointerp.viewer.scores import Score, description_scores, verdict

SCORED: dict[str, dict[str, Any]] = {
    "input_score": {"status": "ok", "auroc": 0.9, "num_activating": 5, "num_neutral": 5},
    "output_score": {"status": "ok", "win_rate": 0.8, "win_rate_low": 0.6, "win_rate_high": 0.9},
    "output_ceiling": {"ceiling": 0.95},
    "unseen_tokens": {"status": "no_partner", "win_rate": None},
}


def test_description_has_its_scores_with_interval_floor_and_ceiling() -> None:
    shuffled = {"output_score": {"win_rate": 0.4}}
    made = {score.title: score for score in description_scores(SCORED, shuffled)}
    inputs, outputs = made["input AUROC"], made["output win rate"]
    interval = mann_whitney_interval(0.9, 5, 5)
    assert (inputs.low, inputs.high, inputs.floor) == (interval.low, interval.high, None)
    assert (outputs.value, outputs.low, outputs.high) == (0.8, 0.6, 0.9)
    assert (outputs.floor, outputs.ceiling) == (0.4, 0.95)
    unscored = made["unseen-token win rate"]
    assert (unscored.value, unscored.in_words) == (None, "no_partner")


@pytest.mark.parametrize(
    ("low", "high", "where"),
    [(0.51, 0.9, "above"), (0.5, 0.9, "unsure"), (0.1, 0.5, "unsure"), (0.1, 0.49, "below")],
)
def test_score_is_where_its_whole_interval_lies(low: float, high: float, where: str) -> None:
    assert Score("x", (low + high) / 2, low, high, 0.5).verdict == where


@pytest.mark.parametrize(
    ("inputs", "outputs", "word", "said"),
    [
        ((0.6, 0.9), (0.6, 0.9), "above", "on inputs and on outputs"),
        ((0.6, 0.9), (0.4, 0.9), "partly", "on inputs only: i above chance; outputs not shown"),
        ((0.6, 0.9), (0.1, 0.3), "partly", "But o lies below chance"),
        (None, (0.6, 0.9), "partly", "on outputs only: o above chance; inputs not scored"),
        ((0.4, 0.9), (0.4, 0.9), "unsure", "Not shown"),
        ((0.4, 0.9), (0.1, 0.3), "below", "Contradicted: o below chance"),
        (None, None, "none", "Nothing was scored"),
    ],
)
def test_verdict_says_what_the_label_is_shown_on(
    inputs: tuple[float, float] | None, outputs: tuple[float, float] | None, word: str, said: str
) -> None:
    scores = [
        Score(name, sum(ends) / 2, *ends, 0.5, side=side)
        for name, side, ends in (("i", "inputs", inputs), ("o", "outputs", outputs))
        if ends is not None
    ]
    made = verdict(scores)
    assert made[0] == word
    assert said in made[1]
