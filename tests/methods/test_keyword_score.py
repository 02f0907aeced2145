"""Scores of keywords against a slow count, position by position and pair by pair of windows."""

import math
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.keyword_score import (
    Firings,
    HeldOutText,
    Keywords,
    keyword_scores,
)
from ray_autointerp.methods.offsets import offsets_of

Latent = tuple[dict[int, float], list[int]]
"""Activations by place in the text, and keywords."""

NUM_SPELLINGS = 6
texts = st.lists(st.lists(st.integers(0, NUM_SPELLINGS - 1), max_size=8), min_size=1, max_size=6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], list[Latent]]:
    windows = draw(texts)
    num_tokens = sum(map(len, windows))
    places = st.integers(0, max(num_tokens - 1, 0))
    values = st.sampled_from([0.5, 1.0, 2.0, 7.0])
    latents = st.tuples(
        st.dictionaries(places, values, max_size=min(12, num_tokens)),
        st.lists(st.integers(0, NUM_SPELLINGS - 1), max_size=4, unique=True),
    )
    return windows, draw(st.lists(latents, min_size=1, max_size=5))


def scores_of(windows: list[list[int]], latents: list[Latent]) -> list[dict[str, float]]:
    text = HeldOutText(
        np.array([token for window in windows for token in window], np.int32),
        np.repeat(np.arange(len(windows), dtype=np.int32), [len(window) for window in windows]),
        NUM_SPELLINGS,
        len(windows),
    )
    firings = [sorted(fired.items()) for fired, _ in latents]
    found = keyword_scores(
        text,
        Firings(
            offsets_of(np.array([len(own) for own in firings])),
            np.array([place for own in firings for place, _ in own], np.int32),
            np.array([value for own in firings for _, value in own], np.float32),
        ),
        Keywords(
            offsets_of(np.array([len(words) for _, words in latents])),
            np.array([word for _, words in latents for word in words], np.int32),
        ),
    )
    columns = {name.removesuffix("_L"): values.tolist() for name, values in vars(found).items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def slow(windows: list[list[int]], latent: Latent) -> dict[str, float]:
    fired, words = latent
    tokens = [token for window in windows for token in window]
    predicted = {place for place, token in enumerate(tokens) if token in words}
    hits = predicted & set(fired)
    precision = len(hits) / len(predicted) if predicted else math.nan
    recall = len(hits) / len(fired) if fired else math.nan
    mass = sum(fired[place] for place in hits) / sum(fired.values()) if fired else math.nan

    def f1(share: float) -> float:
        if not hits:
            return 0.0 if predicted or fired else math.nan
        return 2 / (1 / precision + 1 / share)

    ends = np.cumsum([0, *map(len, windows)]).tolist()
    places = [set(range(start, stop)) for start, stop in zip(ends[:-1], ends[1:], strict=True)]
    held = [(len(own & predicted), bool(own & set(fired))) for own in places]
    pairs = [
        (count > other) + (count == other) / 2
        for count, is_active in held
        for other, is_other_active in held
        if is_active and not is_other_active
    ]
    return {
        "num_predicted": len(predicted),
        "precision": precision,
        "recall": recall,
        "f1": f1(recall),
        "f1_weighted": f1(mass),
        "window_auroc": fmean(pairs) if pairs else math.nan,
    }


@given(cases())
def test_scores_equal_a_slow_count_and_a_latents_are_its_own_affair(
    case: tuple[list[list[int]], list[Latent]],
) -> None:
    windows, latents = case
    found = scores_of(windows, latents)
    for latent, row in zip(latents, found, strict=True):
        assert row == pytest.approx(slow(windows, latent), nan_ok=True)
        assert scores_of(windows, [latent]) == [pytest.approx(row, nan_ok=True)]


WINDOWS = [[0, 1, 2], [1, 1, 3], [4, 4, 4]]


@pytest.mark.parametrize(
    ("fired", "words", "expected"),
    [
        ({1: 1, 3: 1, 4: 1}, [1], {"precision": 1, "recall": 1, "f1": 1, "window_auroc": 1}),
        ({1: 1, 3: 1, 4: 1}, [4], {"precision": 0, "f1": 0, "f1_weighted": 0, "window_auroc": 0}),
        ({1: 6, 0: 2}, [1], {"precision": 1 / 3, "recall": 1 / 2, "f1_weighted": 6 / 13}),
        ({1: 1}, [5], {"num_predicted": 0, "precision": math.nan, "f1": 0, "window_auroc": 0.5}),
        ({0: 1, 3: 1, 6: 1}, [4], {"window_auroc": math.nan}),
    ],
)
def test_scores_worked_out_by_hand(
    fired: dict[int, float], words: list[int], expected: dict[str, Any]
) -> None:
    (row,) = scores_of(WINDOWS, [(fired, words)])
    assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)
