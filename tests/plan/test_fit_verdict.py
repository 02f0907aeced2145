"""What is made of how an SAE fits: by the unexplained variance, and by the active latents."""

from typing import Any

import pytest

from ray_autointerp.config import SaeFitSection
from ray_autointerp.plan.fit_verdict import FitVerdict, fit_verdict


def judged(unexplained: float | None, l0: float | None = 32, expected: float | None = 32) -> Any:
    row = {"sae": "mine", "unexplained": unexplained, "l0": l0, "expected_l0": expected}
    return fit_verdict(row, SaeFitSection())


@pytest.mark.parametrize(
    ("unexplained", "outcome"),
    [(0.2, "ok"), (0.5, "ok"), (0.51, "warn"), (0.9, "warn"), (0.91, "stop"), (7.0, "stop")],
)
def test_outcome_by_the_unexplained_variance(unexplained: float, outcome: str) -> None:
    found = judged(unexplained)
    assert found.outcome == outcome
    assert len(found.sentences) == (outcome != "ok")
    if found.sentences:
        assert found.sentences[0].startswith(f"The SAE mine leaves {unexplained:.0%} of ")


@pytest.mark.parametrize(
    ("l0", "expected", "is_odd"),
    [
        (32, 32, False),
        (95, 32, False),
        (97, 32, True),
        (11, 32, False),
        (10, 32, True),
        (0, 32, True),
        (500, None, False),
        (500, 0, False),
    ],
)
def test_warning_where_far_more_or_fewer_latents_are_active_than_the_metadata_says(
    l0: float, expected: float | None, is_odd: bool
) -> None:
    for unexplained, otherwise in ((0.1, "ok"), (None, "unknown")):
        found = judged(unexplained, l0, expected)
        assert found.outcome == ("warn" if is_odd else otherwise)
        assert len(found.sentences) == is_odd
    assert len(judged(0.7, l0, expected).sentences) == 1 + is_odd


@pytest.mark.parametrize(("below", "is_odd"), [(0.2, True), (0.26, True), (0.28, False)])
def test_warning_where_a_layer_next_to_it_is_explained_better(below: float, is_odd: bool) -> None:
    row = {"sae": "mine", "unexplained": 0.3, "l0": 32, "expected_l0": 32, "hook_point": "here"}
    found = fit_verdict(row, SaeFitSection(), {"below": below, "above": 0.5})
    assert found.outcome == ("warn" if is_odd else "ok")
    assert ["at below: it was most likely trained at another" in s for s in found.sentences] == (
        [True] if is_odd else []
    )


def test_nothing_is_known_where_no_token_was_read() -> None:
    assert judged(None, None) == FitVerdict("unknown")


def test_sentence_of_a_stop_says_how_to_go_on_all_the_same() -> None:
    found = judged(0.954)
    (sentence,) = found.sentences
    assert "another model, revision, layer" in sentence
    assert "sae_fit.most_unexplained above 0.95" in sentence
    assert fit_verdict(
        {"sae": "mine", "unexplained": 0.954, "l0": 32, "expected_l0": 32},
        SaeFitSection(warn_unexplained=2, most_unexplained=2),
    ) == FitVerdict("ok")
