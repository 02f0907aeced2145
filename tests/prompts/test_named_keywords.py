"""Named keywords: a short name of its own, and keywords cut to the one cap, never the name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods import keywords as by_words
from ray_autointerp.methods.keywords import FiredToken, fired_words, promoted_words
from ray_autointerp.prompts import named_keywords
from ray_autointerp.prompts.answer import BadAnswer
from ray_autointerp.prompts.named_keywords import Keywords, described, keywords_from
from ray_autointerp.prompts.question import Columns
from ray_autointerp.prompts.shown import Shown
from ray_autointerp.prompts.text import few_shots, prompt_text, worked_examples

FORT = Keywords('"fort", "arch", "erect"', '"builders"')
TOKENS = st.lists(st.text(min_size=1, max_size=6), max_size=6)


def read(answer: str, cap_words: int = 30, keywords: Keywords = FORT) -> Columns:
    asked = named_keywords.ask("named_keywords", keywords, cap_words, False)
    return asked.read(answer, "stop")


def status(answer: str, cap_words: int = 30) -> str:
    with pytest.raises(BadAnswer) as bad:
        read(answer, cap_words)
    return bad.value.status


def test_description_is_name_and_keywords_and_the_name_a_column() -> None:
    row = read("Name: construction and buildings.")
    assert row["name"] == "construction and buildings"
    assert (
        row["description"]
        == 'construction and buildings; fires on "fort", "arch", "erect"; promotes "builders"'
    )
    assert (row["trigger"], row["promotes"]) == (FORT.fires_on, FORT.promotes)


@pytest.mark.parametrize(
    "answer",
    [
        "words and phrases",
        "Various tokens",
        "common words in different contexts",
        "miscellaneous",
        "one two three four five six seven eight nine",
        *(shot.assistant for shot in worked_examples("named_keywords")),
        "Name: WOODWORKING tools, and joinery!",
    ],
)
def test_name_that_names_nothing_or_repeats_an_example_is_lint(answer: str) -> None:
    assert status(answer) == "lint"


@pytest.mark.parametrize("answer", ["", "--", "\n"])
def test_empty_name_is_unreadable(answer: str) -> None:
    assert status(answer) == "unreadable"


@pytest.mark.parametrize("answer", ["the comma", "conjunctions", 'the word "various"', "時間"])
def test_short_names_that_name_something_are_kept(answer: str) -> None:
    assert read(answer)["name"] == answer


@given(TOKENS, TOKENS, st.integers(5, 40))
def test_cap_cuts_whole_keywords_and_never_the_name(
    fired: list[str], promoted: list[str], cap_words: int
) -> None:
    quoted = fired_words([[FiredToken(text, 1.0)] for text in fired])
    made = by_words.keywords(quoted, promoted_words(promoted))
    text = described("one two three", Keywords(made.fires_on, made.promotes), cap_words)
    assert text.startswith("one two three")
    assert len(text.split()) <= cap_words
    whole = f"one two three; {made}" if str(made) else "one two three"
    assert (text == whole) == (len(whole.split()) <= cap_words)
    assert text.count('"') % 2 == 0 or "\\" in text, "a keyword is cut as a whole"


def test_last_keywords_of_the_longer_list_go_first() -> None:
    many = Keywords('"a", "b", "c"', '"d", "e, f", "part of a"')
    assert described("name", many, 11) == 'name; fires on "a", "b"; promotes "d", "e, f"'
    assert described("name", many, 1) == "name"


def test_name_that_is_longer_than_the_cap_is_lint() -> None:
    assert status("one two three four five six", cap_words=5) == "lint"


def test_prompt_shows_the_two_lists_alone_and_is_short() -> None:
    rows = {"descriptions/keywords": [{"status": "ok", "trigger": '"owl"', "promotes": None}]}
    keywords = keywords_from(rows, Shown(1, 1, None))
    assert keywords is not None
    asked = named_keywords.ask("named_keywords", keywords, 30, False)
    assert asked.messages[-1].content == 'Fires on: "owl"\nPromotes: nothing'
    said = prompt_text("named_keywords") + "".join(m.content for m in few_shots("named_keywords"))
    assert len(json.dumps(said).split()) < 90
    silent = {"descriptions/keywords": [{"status": "no_evidence"}]}
    assert keywords_from(silent, Shown(1, 1, None)) is None
