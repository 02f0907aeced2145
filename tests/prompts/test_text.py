"""Prompt texts and placeholders cannot drift apart, and prompts share their beginning."""

import re

import pytest

from ray_autointerp.plan.evidence import EXPLAINERS
from ray_autointerp.prompts import question, structured
from ray_autointerp.prompts.ensemble import part_cap
from ray_autointerp.prompts.message import Message, digest
from ray_autointerp.prompts.text import WORKED_CAP, few_shots, prompt_text, worked_examples


def test_missing_and_unused_placeholders_are_errors() -> None:
    with pytest.raises(KeyError, match="cap_words"):
        prompt_text("cap")
    with pytest.raises(KeyError, match="no placeholder"):
        prompt_text("judge_two", cap_words=3)


def test_prompts_of_two_latents_differ_in_the_last_message_alone() -> None:
    """So that an engine reads the long beginning once (prefix cache)."""
    first = question.ask("vocab_proj", 'Promoted tokens: " a"', 25, False).messages
    second = question.ask("vocab_proj", 'Promoted tokens: " b"', 25, False).messages
    assert first[:-1] == second[:-1]
    assert first[-1] != second[-1]


def test_digest_tells_prompts_apart_by_role_order_and_text() -> None:
    a, b = Message("user", "a"), Message("user", "b")
    seen = [(a,), (b,), (a, b), (b, a), (Message("system", "a"),), (Message("user", "ab"),)]
    assert len({digest(messages) for messages in seen}) == len(seen)


def test_description_over_the_cap_does_not_end_in_a_comma() -> None:
    asked = question.ask("max_act", "evidence", 5, False)
    answer = 'words such as "owl", "moon", "wing"'
    assert asked.read(answer, "stop") == {"description": 'words such as "owl", "moon"'}


def test_parts_of_concat_are_within_one_cap() -> None:
    assert 3 * part_cap(25) <= 25


EXPLAINED = sorted({made.text for made in EXPLAINERS.values() if made.text})
NAMES = (*EXPLAINED, "sentences", "activating_sentences")


@pytest.mark.parametrize("name", NAMES)
def test_few_shots_have_no_tokenizers_own_marks(name: str) -> None:
    """They are read by every model, whatever its tokens look like (methods 7, trap 4)."""
    said = "".join(message.content for message in few_shots(name))
    assert not any(mark in said for mark in ("▁", "Ġ", "Ċ", "##", "<0x", "Ã"))


@pytest.mark.parametrize("name", [*NAMES, "judge_two", "judge_three"])
def test_no_prompt_gives_a_latent_a_number(name: str) -> None:
    """A number would come back in descriptions (methods 7, trap 12)."""
    shots = few_shots(name) if name in NAMES else ()
    said = prompt_text(name) + "".join(message.content for message in shots)
    assert not re.search(r"\b(neuron|latent|feature|unit) ?#?\d", said, re.IGNORECASE)


@pytest.mark.parametrize("name", EXPLAINED)
def test_worked_examples_say_the_same_in_both_forms(name: str) -> None:
    """What an answer quotes, its parts quote; and all of it is within the cap."""
    for shot in worked_examples(name):
        assert len(shot.assistant.split()) <= WORKED_CAP
        if name == "named_keywords":
            continue
        assert shot.parts["relation"] in structured.RELATIONS
        said = structured.in_words(shot.parts)
        assert set(re.findall(r'"[^"]+"', shot.assistant)) <= set(re.findall(r'"[^"]+"', said))
        assert len(said.split()) <= WORKED_CAP
