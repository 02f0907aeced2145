"""Texts of tokens that hold pieces of characters: named, joined and cut."""

import pytest

from ray_autointerp.records.split_characters import CONTINUED as M
from ray_autointerp.records.split_characters import cut_texts, named_pieces, whole_characters


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ([" a", "b"], [" a", "b"]),
        ([" \u4e2d", M, M, "b"], [" \u4e2d", f"\u4e2d{M}", f"\u4e2d{M}{M}", "b"]),
        (["\u4e2d", f"{M}\u6587", M], ["\u4e2d", f"\u4e2d{M}\u6587", f"\u6587{M}"]),
        (["a\u4e2d", M, "b", "\u4e2d", M], ["a\u4e2d", f"\u4e2d{M}", "b", "\u4e2d", f"\u4e2d{M}"]),
        ([M, "b"], ["", "b"]),
        ([], []),
    ],
)
def test_piece_is_named_by_its_character_and_how_far_it_is_in_it(
    texts: list[str], named: list[str]
) -> None:
    assert named_pieces(texts) == named


@pytest.mark.parametrize(
    ("texts", "values", "joined", "largest", "places"),
    [
        (["a", " b"], [0, 1], ["a", " b"], [0, 1], [0, 1]),
        (["\u4e2d", M, M, "b"], [0, 5, 1, 2], ["\u4e2d", "b"], [5, 2], [0, 0, 0, 1]),
        (["\u4e2d", f"{M}\u6587", M], [0, 0, 3], ["\u4e2d\u6587"], [3], [0, 0, 0]),
        ([M, "b"], [0, 1], ["", "b"], [0, 1], [0, 1]),
        ([M, "b"], [2, 0], [M, "b"], [2, 0], [0, 1]),
    ],
)
def test_whole_characters_have_their_pieces_largest_value(
    texts: list[str], values: list[int], joined: list[str], largest: list[int], places: list[int]
) -> None:
    assert whole_characters(texts, values) == (joined, largest, places)


def test_cut_within_a_character_begins_with_all_of_it() -> None:
    texts = ["x", "\u4e2d", M, f"{M}y", M]
    assert cut_texts(texts, 2, 4) == ["\u4e2d", f"{M}y"]
    assert cut_texts(texts, 3, 5) == ["\u4e2dy", M]
    assert cut_texts(texts, 0, 2) == ["x", "\u4e2d"]
    assert cut_texts([M, "b"], 0, 2) == [M, "b"]
    assert cut_texts(texts, 2, 2) == []
