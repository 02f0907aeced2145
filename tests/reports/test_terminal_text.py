"""Whatever a model or a corpus says, a terminal shows it as text within its width."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from ray_autointerp.reports.terminal_text import ELLIPSIS, cut, cut_left, flowed, printable

words = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), min_size=1)


def test_what_cannot_be_seen_is_escaped_and_the_rest_is_kept() -> None:
    assert printable("\x1b[31mred\n\t\u202e") == "\\x1b[31mred\\n\\t\\u202e"
    assert printable("[red] 鳥 é — 🙂") == "[red] 鳥 é — 🙂"


@given(st.text())
def test_any_text_can_be_written_to_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()


def test_cut_ends_at_a_word_where_one_is_near() -> None:
    text = Text("responds to ordinal numbers")
    assert cut(text, 27).plain == text.plain
    assert cut(text, 22).plain == "responds to ordinal…"
    assert cut_left(text, 18).plain == "…ordinal numbers"
    assert cut(Text("a" * 30), 12).plain == "a" * 11 + ELLIPSIS
    assert cut_left(Text("a" * 30), 12).plain == ELLIPSIS + "a" * 11


@given(words, st.integers(8, 60))
def test_a_cut_text_fits_and_says_that_it_is_cut(parts: list[str], width: int) -> None:
    text = Text(" ".join(parts))
    for short in (cut(text, width).plain, cut_left(text, width).plain):
        assert cell_len(short) <= width
        assert short == text.plain or ELLIPSIS in (short[0], short[-1])


@given(words, st.integers(12, 60))
def test_items_flow_in_order_within_the_width(parts: list[str], width: int) -> None:
    lines = [line.plain for line in flowed([Text(part) for part in parts], width, " ·")]
    assert all(cell_len(line) <= width for line in lines)
    if all(cell_len(part) + 2 <= width for part in parts):
        assert " ".join(lines) == " · ".join(parts)
