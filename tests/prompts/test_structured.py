"""The structured form: what is asked for is read, its parts are in the description."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.prompts import question, structured
from ray_autointerp.prompts.answer import BadAnswer

WORDS = st.lists(st.from_regex(r"[b-gi-z]{1,4}ing", fullmatch=True), max_size=12).map(" ".join)
"""Without "thing": `lint` declines a text of nothing else."""


def read(value: Any, cap_words: int = 30) -> dict[str, str | None]:
    asked = question.ask("ensemble_raw_outputs", "evidence", cap_words, False).messages[:1]
    return structured.read(json.dumps(value), "stop", asked, cap_words)


def parts(trigger: str = "", promotes: str = "", suppresses: str = "") -> dict[str, str]:
    sides = {"trigger": trigger, "promotes": promotes, "suppresses": suppresses}
    return {**sides, "relation": "none"}


@given(WORDS, WORDS, WORDS, st.sampled_from(structured.RELATIONS), st.integers(5, 40))
def test_answer_that_fits_the_schema_is_read(
    trigger: str, promotes: str, suppresses: str, relation: str, cap_words: int
) -> None:
    value = {**parts(trigger, promotes, suppresses), "relation": relation}
    if cap_words >= 12:  # the grammar keeps shorter caps from so long answers
        jsonschema.validate(value, structured.schema(cap_words))
    sides = [("fires on", trigger), ("promotes", promotes), ("suppresses", suppresses)]
    if not any(text for _, text in sides):
        with pytest.raises(BadAnswer) as bad:
            read(value, cap_words)
        assert bad.value.status == "unreadable"
    elif not any(len(text.split()) > 2 * cap_words for _, text in sides):
        row = read(value, cap_words)
        for name in ("trigger", "promotes", "suppresses"):
            assert row[name] == (value[name] or None)
        assert row["relation"] == relation
        whole = "; ".join(f"{word} {text}" for word, text in sides if text)
        assert row["description"] == " ".join(whole.split()[:cap_words])


def test_parts_name_nothing_twice() -> None:
    row = read(parts(trigger='"owl", "moon", "owl"', promotes='"owl"'))
    assert row["description"] == 'fires on "owl", "moon"; promotes "owl"'


@pytest.mark.parametrize("unknown", ["", "  ", "None", "unknown", "n/a"])
def test_unknown_parts_are_null(unknown: str) -> None:
    row = read(parts(trigger='the word "owl"', promotes=unknown))
    assert row == {
        "trigger": 'the word "owl"',
        "promotes": None,
        "suppresses": None,
        "relation": "none",
        "description": 'fires on the word "owl"',
    }


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ([], "unreadable"),
        ({"trigger": "owls"}, "unreadable"),
        (parts(), "unreadable"),
        ({**parts("owls"), "relation": "cousins"}, "unreadable"),
        ({**parts("owls"), "promotes": None}, "unreadable"),
        (parts("owls", "various words in different contexts"), "lint"),
        (parts("Okay, so the first text has owls"), "lint"),
        (parts("owls " * 61), "lint"),
    ],
)
def test_answer_of_another_form_or_without_content_has_a_status(value: Any, status: str) -> None:
    with pytest.raises(BadAnswer) as bad:
        read(value)
    assert bad.value.status == status


def test_copied_part_of_a_worked_example_is_lint() -> None:
    for name in ("max_act", "vocab_proj", "jacobian_proj", "ensemble_raw", "summary"):
        asked = question.ask(name, "evidence", 30, True)
        for shot in (turn for turn in asked.messages if turn.role == "assistant"):
            with pytest.raises(BadAnswer) as bad:
                asked.read(shot.content, "stop")
            assert bad.value.status == "lint"
            (first, *_) = (text for text in json.loads(shot.content).values() if text)
            with pytest.raises(BadAnswer):
                asked.read(json.dumps(parts("the word owl", first.upper())), "stop")


def test_cut_off_answer_is_truncated() -> None:
    asked = question.ask("max_act", "evidence", 30, True)
    with pytest.raises(BadAnswer) as bad:
        asked.read('{"trigger": "owls and th', "length")
    assert bad.value.status == "truncated"
