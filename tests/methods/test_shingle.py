"""Sides of the split: copies together, near-copies mostly together, halves even."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.shingle import shingle_hashes, split_of, window_shingles


def documents(num_documents, length, seed=0):
    return np.random.default_rng(seed).integers(0, 49152, size=(num_documents, length))


def test_shingles_equal_runs_hash_alike_and_different_runs_do_not():
    tokens = documents(1, 40)[0]
    hashes = shingle_hashes(np.concatenate([tokens, tokens]))
    assert len(hashes) == 68
    assert hashes[:28].tolist() == hashes[40:].tolist()
    assert len(set(hashes.tolist())) == 40


def test_shingles_order_and_end_of_a_run_count():
    run = list(range(13))
    seen = {
        int(shingle_hashes(tokens)[0])
        for tokens in (run, run[::-1], run[:12], [*run[:12], 0], [0] * 13, [0] * 12, [0], [])
    }
    assert len(seen) == 8


def test_split_does_not_depend_on_the_container():
    for tokens in documents(20, 30):
        assert split_of(tokens.tolist()) == split_of(tokens.astype(np.int32)) == split_of(tokens)


def test_split_is_pinned():
    """A changed split would move evidence onto the scoring side of old runs."""
    sides = [split_of(range(start, start + 20))[0] for start in range(0, 320, 20)]
    assert "".join(sides) == "ssseeeseseseeess"


@pytest.mark.parametrize("length", [3, 13, 200])
def test_split_falls_evenly_and_by_the_share_asked_for(length):
    tokens = documents(2000, length)
    half = np.mean([split_of(row) == "score" for row in tokens])
    quarter = np.mean([split_of(row, score_share=0.25) == "score" for row in tokens])
    assert half == pytest.approx(0.5, abs=0.04)
    assert quarter == pytest.approx(0.25, abs=0.04)


def test_split_share_of_none_or_all():
    tokens = documents(50, 20)
    assert {split_of(row, score_share=0) for row in tokens} == {"explain"}
    assert {split_of(row, score_share=1) for row in tokens} == {"score"}


def test_split_near_copies_land_together_as_often_as_they_share_shingles():
    """With one of 400 tokens changed, 375 of 401 shingles are shared: 0.94 + half the rest."""
    together = 0
    for tokens in documents(500, 400):
        changed = tokens.copy()
        changed[200] += 1
        together += split_of(tokens) == split_of(changed)
    assert together / 500 == pytest.approx(375 / 401 + 26 / 401 / 2, abs=0.03)


def test_split_copy_inside_a_boundary_of_other_text_follows_its_smallest_shingle():
    tokens = documents(1, 300)[0]
    smallest = int(shingle_hashes(tokens).argmin())
    excerpt = tokens[smallest : smallest + 13]
    assert split_of(excerpt) == split_of(tokens)


@given(
    windows=st.lists(st.lists(st.integers(0, 3), max_size=40), max_size=6),
)
def test_shingles_of_many_windows_are_those_of_each(windows: list[list[int]]) -> None:
    flat = np.array([token for own in windows for token in own], np.int32)
    hashes, window = window_shingles(flat, np.cumsum([0, *map(len, windows)]))
    expected = [
        (int(value), index)
        for index, own in enumerate(windows)
        if own
        for value in shingle_hashes(own)
    ]
    assert list(zip(hashes.tolist(), window.tolist(), strict=True)) == expected
