"""The sentence writer's answer: exactly what was asked for, or a status; and neutral sentences."""

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.prompts import sentences
from ray_autointerp.prompts.answer import BadAnswer
from ray_autointerp.prompts.neutral import NEUTRAL_SENTENCES
from ray_autointerp.prompts.sentences import ACTIVATING, BOTH, neutral_sentences
from ray_autointerp.prompts.text import worked_examples

SENTENCE = st.text(st.characters(categories=("L", "N")), min_size=8, max_size=40)


@given(st.data(), st.integers(1, 5))
def test_answer_that_fits_the_schema_is_read(data: st.DataObject, number: int) -> None:
    side = st.lists(SENTENCE, min_size=number, max_size=number)
    value = {"activating": data.draw(side), "neutral": data.draw(side)}
    jsonschema.validate(value, sentences.schema(BOTH, number))
    read = sentences.read(BOTH, json.dumps(value), "stop", number)
    assert read.activating == tuple(value["activating"])
    assert read.neutral == tuple(value["neutral"])
    del value["neutral"]
    jsonschema.validate(value, sentences.schema(ACTIVATING, number))
    assert sentences.read(ACTIVATING, json.dumps(value), "stop", number) == replace(
        read, neutral=()
    )


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        {"activating": ["one sentence", "two sentences"]},
        {"activating": ["one sentence"], "neutral": ["one sentence", "two sentences"]},
        {"activating": ["one sentence", "  "], "neutral": ["one sentence", "two sentences"]},
        {"activating": ["one sentence", 2], "neutral": ["one sentence", "two sentences"]},
        {"activating": "one sentence", "neutral": "another one"},
    ],
)
def test_answer_of_another_form_is_unreadable(value: Any) -> None:
    with pytest.raises(BadAnswer) as bad:
        sentences.read(BOTH, json.dumps(value), "stop", 2)
    assert bad.value.status == "unreadable"


def test_neutral_sentences_are_another_few_for_each_draw_and_latent() -> None:
    drawn = [neutral_sentences(7, draw, 5, seed=0) for draw in range(12)]
    assert drawn[0] == neutral_sentences(7, 0, 5, seed=0)
    assert sorted(text for draw in drawn for text in draw) == sorted(NEUTRAL_SENTENCES)
    assert drawn[0] != neutral_sentences(8, 0, 5, seed=0) != neutral_sentences(8, 0, 5, seed=1)
    many = neutral_sentences(7, 0, 150, seed=0)
    assert len(many) == 150 and set(many) == set(NEUTRAL_SENTENCES)


def test_neutral_sentences_name_no_planted_trigger(planted: PlantedTruth) -> None:
    """Else they activate a planted latent, of which the truth is known."""
    said = set(re.findall(r"\w+", " ".join(NEUTRAL_SENTENCES).lower()))
    assert not said & set(planted.triggers)


def test_neutral_sentences_are_short_each_once_and_in_no_worked_example() -> None:
    assert len(set(NEUTRAL_SENTENCES)) == len(NEUTRAL_SENTENCES) >= 50
    assert all(5 < len(text.split()) < 16 for text in NEUTRAL_SENTENCES)
    shown = "".join(shot.assistant for name in (ACTIVATING, BOTH) for shot in worked_examples(name))
    assert not any(text in shown for text in NEUTRAL_SENTENCES)
