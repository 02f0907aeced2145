"""Text of models and corpora as a page shows it: escaped, and what cannot be seen made visible."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

LEVELS = 8
"""Shades of a token, from the weakest activation to the maximum."""

_GLYPHS = {"\n": "↵", "\t": "⇥", "\r": "␍"}
_NAMES = {"\n": "line break", "\t": "tab", "\r": "carriage return"}
_BYTES = "\N{REPLACEMENT CHARACTER}"


def visible(text: str) -> Markup:
    """The text with control characters, bidi marks and parts of characters as marked signs.

    Right-to-left text stays in its own order; marks that would turn other text are spelt out.
    """
    return Markup("").join(_char(char) for char in text)


def quoted(token: str) -> Markup:
    """A token by itself: a space at either end is shown as `␣`."""
    word = token.strip(" ")
    before = token[: len(token) - len(token.lstrip(" "))] if word else token
    after = token[len(token.rstrip(" ")) :] if word else ""
    space = Markup('<span class="space" title="space">␣</span>')
    return space * len(before) + visible(word) + space * len(after)


@dataclass(frozen=True)
class ShownToken:
    """A token of an excerpt."""

    space: str
    """What the token begins with and stands outside its shade, so that lines break there."""
    text: Markup
    level: int
    """0 where the latent is silent, else 1 to LEVELS."""
    value: str
    is_peak: bool = False


def shown_tokens(example: dict[str, Any], maximum: float) -> Iterator[ShownToken]:
    """The tokens of an excerpt, shaded by their share of the latent's maximum."""
    pairs = zip(example["texts"], example["activations"], strict=True)
    for number, (text, activation) in enumerate(pairs):
        level = 0
        if activation > 0:
            level = max(1, min(LEVELS, round(LEVELS * activation / maximum))) if maximum else LEVELS
        is_peak = number == example["peak"]
        is_marked = level > 0 or is_peak
        word = text.lstrip(" ")
        space = text[: len(text) - len(word)] if word else ""
        shown = quoted(text) if is_marked and not word else visible(word or text)
        yield ShownToken(space if number else "", shown, level, f"{activation:.2f}", is_peak)


def joined(tokens: Sequence[str] | None, count: int = 6) -> Markup:
    """The first different tokens of a list in one line."""
    words = list(dict.fromkeys(token.strip() or token for token in tokens or ()))
    return Markup(", ").join(quoted(word) for word in words[:count])


def _char(char: str) -> Markup:
    if char in _GLYPHS:
        mark = Markup('<span class="control" title="{}">{}</span>').format(
            _NAMES[char], _GLYPHS[char]
        )
        return mark + "\n" if char == "\n" else mark
    if char == _BYTES:
        return Markup('<span class="control" title="part of a character">{}</span>').format(char)
    if char.isprintable():
        return escape(char)
    code = char.encode("unicode_escape").decode()
    return Markup('<span class="control" title="U+{:04X}">{}</span>').format(ord(char), code)
