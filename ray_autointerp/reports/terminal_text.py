"""Text from models and corpora as a terminal shows it: escaped, cut, and laid out within a width.

Widths are in terminal cells: a Chinese character takes two.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

ELLIPSIS = "…"
_LEAST_WIDTH = 8
"""Cells below which a width is not honoured: no terminal is so narrow."""


def printable(text: str) -> str:
    """The text with what cannot be seen (line breaks, ANSI escapes, bidi marks) escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def cut(text: Text, width: int) -> Text:
    """The text where it fits, else its beginning, up to a word's end if one is near, and `…`."""
    width = max(width, _LEAST_WIDTH)
    if cell_len(text.plain) <= width:
        return text
    kept = _chars_within(text.plain, width - 1)
    if text.plain[kept] != " " and (space := text.plain.rfind(" ", kept // 2, kept)) > 0:
        kept = space
    kept = len(text.plain[:kept].rstrip(" ,;"))
    return Text.assemble(text[:kept], ELLIPSIS)


def cut_left(text: Text, width: int) -> Text:
    """The text where it fits, else `…` and its end, from a word's beginning if one is near."""
    width = max(width, _LEAST_WIDTH)
    if cell_len(text.plain) <= width:
        return text
    start = len(text.plain) - _chars_within(text.plain[::-1], width - 1)
    middle = (start + len(text.plain)) // 2
    if text.plain[start - 1] != " " and (space := text.plain.find(" ", start, middle)) > 0:
        start = space
    while text.plain[start] == " " and start < len(text.plain) - 1:
        start += 1
    return Text.assemble(ELLIPSIS, text[start:])


def flowed(items: Sequence[Text], width: int, separator: str = ", ") -> list[Text]:
    """Lines of items: a line breaks only between two of them. An item too long for one is cut."""
    lines: list[Text] = []
    for number, item in enumerate(items):
        end = separator.rstrip() if number < len(items) - 1 else ""
        item = Text.assemble(cut(item, width - cell_len(end)), end)
        gap = " " if lines else ""
        if lines and cell_len(lines[-1].plain) + len(gap) + cell_len(item.plain) <= width:
            lines[-1].append(gap).append_text(item)
        else:
            lines.append(item)
    return lines


def _chars_within(text: str, width: int) -> int:
    """How many of the first characters fit."""
    used = 0
    for number, char in enumerate(text):
        used += cell_len(char)
        if used > width:
            return number
    return len(text)
