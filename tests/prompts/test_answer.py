"""Reading answers: every text is a record or a status, and nothing is guessed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.prompts.answer import BadAnswer, read_description, read_json


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('responds to the word "owl"', 'responds to the word "owl"'),
        ('"night birds"', "night birds"),
        ("\n\n  night birds\nand a second line", "night birds"),
        ("Description: night birds", "night birds"),
        ("The explanation is: night birds", "night birds"),
        ("This neuron fires on night birds", "night birds"),
        ("The latent activates most for night birds", "night birds"),
        ("**night birds**", "night birds"),
        ("prices such as $100 or $5", "prices such as $100 or $5"),
        ("variables such as $name in shell scripts", "variables such as $name in shell scripts"),
        ('"owl" and "moon"', '"owl" and "moon"'),
        ("鳥 at night", "鳥 at night"),
    ],
)
def test_description_is_the_first_line_without_its_wrapping(answer: str, text: str) -> None:
    assert read_description(answer, "stop") == text


@pytest.mark.parametrize(
    ("answer", "finish_reason", "status"),
    [
        ("", "stop", "unreadable"),
        (" \n ", "length", "truncated"),
        ("??? --", "stop", "unreadable"),
        ("I'm sorry, but I can't help.", "stop", "refused"),
        ("As an AI language model, I", "stop", "refused"),
        ("<<owl>> is marked", "stop", "lint"),
        ("</think> owls", "stop", "lint"),
        ("neuron 12 likes owls", "stop", "lint"),
        ("owls, in at most 25 words", "stop", "lint"),
        ("owls, in at most $cap_words words", "stop", "lint"),
        ("responds to owls and to the", "length", "truncated"),
    ],
)
def test_answer_that_is_no_description_has_a_status(
    answer: str, finish_reason: str, status: str
) -> None:
    with pytest.raises(BadAnswer) as bad:
        read_description(answer, finish_reason)
    assert bad.value.status == status


def test_what_was_finished_before_the_limit_is_kept() -> None:
    assert read_description("Owls. Also the moon and", "length") == "Owls."
    assert read_description("Owls at night\nNote: also", "length") == "Owls at night"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('owls: "owl", "moon", "owl", "mo', 'owls: "owl", "moon"'),
        ("owls, night, owls, night,", "owls, night"),
    ],
)
def test_list_that_repeated_itself_until_the_limit_is_kept_once(answer: str, text: str) -> None:
    assert read_description(answer, "length") == text


@pytest.mark.parametrize("space", [" ", "  "])
def test_list_that_had_not_ended_at_the_limit_is_truncated(space: str) -> None:
    with pytest.raises(BadAnswer) as bad:
        read_description(f'owls: "owl",{space}"moon",{space}"wing",{space}"ni', "length")
    assert bad.value.status == "truncated"


@given(st.text(), st.sampled_from(["stop", "length"]))
def test_any_answer_is_one_clean_line_or_a_status(answer: str, finish_reason: str) -> None:
    try:
        text = read_description(answer, finish_reason)
    except BadAnswer as bad:
        assert bad.status in {"refused", "truncated", "unreadable", "lint"}
    else:
        assert text == text.strip()
        assert len(text.splitlines()) == 1
        assert "<<" not in text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_whole_json_is_read_and_a_part_of_it_is_not(value: object) -> None:
    answer = json.dumps({"value": value})
    assert read_json(answer, "stop") == {"value": value}
    for finish_reason, status in [("length", "truncated"), ("stop", "unreadable")]:
        with pytest.raises(BadAnswer) as bad:
            read_json(answer[:-1], finish_reason)
        assert bad.value.status == status
