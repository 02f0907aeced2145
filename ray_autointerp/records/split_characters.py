"""How the texts of tokens are written where a character is split over several of them.

Byte-level tokenizers and those that fall back to bytes cut characters of many scripts into two or
more tokens. In a row of texts the first of these tokens has the whole character, and each of the
rest begins with a mark. Pure text.
"""

from collections.abc import Sequence
from typing import TypeVar

CONTINUED = "\u21a4"
"""Stands for a character that began in a token before: an arrow to the left, rare in real text."""


def named_pieces(texts: Sequence[str]) -> list[str]:
    """Each text with the character that it goes on with, so that it says what it is by itself.

    The second piece of a character is the character and one mark, the third has two: `with_marks`
    apart, they read alike. Empty where the row begins within a character.
    """
    found = []
    character, marks = "", 0
    for text in texts:
        own = text.removeprefix(CONTINUED)
        if own == text:
            found.append(text)
            marks = 0
        else:
            marks += 1
            found.append(character + CONTINUED * marks + own if character else own)
        if own:
            character, marks = own[-1], marks if own == text else 0
    return found


def without_marks(text: str) -> str:
    """The text as a reader wants it."""
    return text.replace(CONTINUED, "")


Value = TypeVar("Value", int, float)


def whole_characters(
    texts: Sequence[str], values: Sequence[Value]
) -> tuple[list[str], list[Value], list[int]]:
    """The texts with the pieces of a character joined, the largest value of each, and by piece the
    joined text that it is in.

    A piece whose character began before the row keeps its mark if its value is not zero.
    """
    joined: list[str] = []
    largest: list[Value] = []
    places: list[int] = []
    for text, value in zip(texts, values, strict=True):
        if text.startswith(CONTINUED) and joined:
            joined[-1] += text.removeprefix(CONTINUED)
            largest[-1] = max(largest[-1], value)
        else:
            joined.append(text if value else text.removeprefix(CONTINUED))
            largest.append(value)
        places.append(len(joined) - 1)
    return joined, largest, places


def cut_texts(texts: Sequence[str], start: int, stop: int) -> list[str]:
    """Some of a row's texts; the first of them has the whole character that it goes on with."""
    kept = list(texts[start:stop])
    if kept and kept[0].startswith(CONTINUED):
        kept[0] = without_marks(named_pieces(texts[: start + 1])[-1]) or kept[0]
    return kept
