"""Excerpts against a slow reference, window by window."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from byte_tokenizers import GPT2, LLAMA
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.excerpts import Peaks, excerpts
from ray_autointerp.passes.token_texts import token_texts
from ray_autointerp.passes.token_windows import TokenWindows
from ray_autointerp.records.schemas import EXAMPLE
from ray_autointerp.records.split_characters import CONTINUED as MARK
from ray_autointerp.records.split_characters import named_pieces

FIRST_ID = 70


@pytest.fixture(scope="module")
def tokenizer(planted: PlantedTruth) -> SubjectTokenizer:
    return SubjectTokenizer.load(str(planted.folder / "subject"))


def slow_excerpt(
    token_ids: list[int], peak: int, values: dict[int, float], length: int, bos: int
) -> dict[str, Any]:
    first = 1 if token_ids[0] == bos else 0
    start = max(first, min(peak - 3 * length // 4, len(token_ids) - length))
    shown = range(start, min(start + length, len(token_ids)))
    return {
        "peak": peak - start,
        "token_ids": [token_ids[i] for i in shown],
        "activations": [values.get(i, 0.0) for i in shown],
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], list[tuple[int, int, dict[int, float]]], int]:
    windows = draw(
        st.lists(st.lists(st.integers(3, 60), min_size=1, max_size=20), min_size=1, max_size=5)
    )
    windows = [([1] if draw(st.booleans()) else []) + own for own in windows]
    peaks = []
    for row in draw(st.lists(st.integers(0, len(windows) - 1), max_size=8)):
        fires = st.integers(0, len(windows[row]) - 1).filter(lambda i, r=row: windows[r][i] != 1)
        values = draw(st.dictionaries(fires, st.sampled_from([0.5, 1.0, 2.0]), min_size=1))
        peaks.append((row, max(values, key=lambda i: values[i]), values))
    return windows, peaks, draw(st.integers(1, 24))


@settings(max_examples=60)
@given(case=cases())
def test_excerpts_are_those_of_a_slow_reference(tokenizer: SubjectTokenizer, case: Any) -> None:
    windows, peaks, length = case
    kept = TokenWindows(
        np.arange(len(windows)) * 3 + FIRST_ID,
        np.arange(len(windows)),
        pa.array([f"doc {i}" for i in range(len(windows))]),
        np.cumsum([0, *map(len, windows)]),
        np.array([i for own in windows for i in own], np.int32),
    )
    fired = [sorted(values.items()) for _, _, values in peaks]
    found = excerpts(
        kept,
        Peaks(
            np.array([row * 3 + FIRST_ID for row, _, _ in peaks], np.int64),
            np.array([peak for _, peak, _ in peaks], np.int16),
            np.array([values[peak] for _, peak, values in peaks], np.float32),
            np.cumsum([0, *map(len, fired)]),
            np.array([place for own in fired for place, _ in own], np.int16),
            np.array([value for own in fired for _, value in own], np.float32),
        ),
        length,
        tokenizer,
    )
    (rows,) = found.lists(np.array([0, len(peaks)])).to_pylist()
    assert found.lists(np.array([0, len(peaks)])).type == pa.list_(EXAMPLE)
    assert tokenizer.bos_id is not None
    for index, (row, (place, peak, values)) in enumerate(zip(rows, peaks, strict=True)):
        slow = slow_excerpt(windows[place], peak, values, length, tokenizer.bos_id)
        assert row == {
            "window": place * 3 + FIRST_ID,
            "document": place,
            "document_id": f"doc {place}",
            "activation": values[peak],
            "texts": tokenizer.texts(slow["token_ids"]),
            **slow,
        }
        following = [*slow["token_ids"], -1][slow["peak"] + 1]
        assert found.peak_tokens_E()[index] == slow["token_ids"][slow["peak"]]
        assert found.next_tokens_E()[index] == following


def windows_of(own: list[list[int]]) -> TokenWindows:
    return TokenWindows(
        np.arange(len(own)),
        np.arange(len(own)),
        pa.array([str(number) for number in range(len(own))]),
        np.cumsum([0, *map(len, own)]),
        np.array([token for ids in own for token in ids], np.int32),
    )


def excerpt_at(tokenizer: SubjectTokenizer, ids: list[int], peak: int, length: int) -> Any:
    found = excerpts(
        windows_of([[5], ids]),
        Peaks(
            np.array([1]),
            np.array([peak]),
            np.array([2.0], np.float32),
            np.array([0, 1]),
            np.array([peak]),
            np.array([2.0], np.float32),
        ),
        length,
        tokenizer,
    )
    ((row,),) = found.lists(np.array([0, 1])).to_pylist()
    return row


@pytest.mark.parametrize("tokenizer", [GPT2, LLAMA])
@pytest.mark.parametrize("character", ["\u4e2d", "\U0001f600", "\u0631"])
@pytest.mark.parametrize("length", [4, 5, 6, 7, 8, 16])
def test_excerpt_that_is_cut_within_a_character_has_the_texts_of_its_window(
    tokenizer: SubjectTokenizer, character: str, length: int
) -> None:
    """Whichever piece is the peak, and wherever the cuts fall."""
    assert tokenizer.bos_id is not None
    ids = [tokenizer.bos_id, *tokenizer.encode(f"ab{character * 3}c{character}")]
    whole = tokenizer.row_texts(ids)
    assert "\ufffd" not in "".join(whole) and MARK in whole
    for peak in range(1, len(ids)):
        row = excerpt_at(tokenizer, ids, peak, length)
        assert row["activations"][row["peak"]] == 2.0
        start = peak - row["peak"]
        assert row["texts"] == whole[start : start + len(row["texts"])]
        assert row["token_ids"] == ids[start : start + len(row["texts"])]


def test_excerpt_does_not_show_eos_that_stands_for_bos() -> None:
    assert GPT2.eos_id is not None
    row = excerpt_at(GPT2, [GPT2.eos_id, *GPT2.encode("abc")], 1, 8)
    assert (row["texts"], row["peak"]) == (["a", "b", "c"], 0)


@settings(max_examples=100)
@given(
    texts=st.lists(st.text("ab \u4e2d\u6587\u0645\U0001f600<", max_size=6), min_size=1, max_size=5),
    data=st.data(),
)
def test_texts_of_many_windows_are_those_of_each(texts: list[str], data: Any) -> None:
    """Windows that end within a character and begin within one are not read together."""
    tokenizer = data.draw(st.sampled_from([GPT2, LLAMA]))
    own = [tokenizer.encode(text) for text in texts]
    own = [
        ids[data.draw(st.integers(0, 2)) : len(ids) - data.draw(st.integers(0, 2))] for ids in own
    ]
    kept = windows_of(own)
    expected = [named_pieces(tokenizer.row_texts(ids)) for ids in own]
    flat = [text for row in expected for text in row]
    made = token_texts(kept.token_ids_N, kept.offsets_W1, tokenizer, name=named_pieces)
    assert made.column().to_pylist() == flat
    places = np.flatnonzero(np.arange(len(flat)) % 3 == 0)
    some = token_texts(
        kept.token_ids_N, kept.offsets_W1, tokenizer, places=places, name=named_pieces
    )
    assert some.column().to_pylist() == flat[::3]
