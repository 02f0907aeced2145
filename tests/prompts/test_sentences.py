"""The sentence writer's answer: exactly what was asked for, or a status."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.prompts import sentences
from ray_autointerp.prompts.answer import BadAnswer

SENTENCE = st.text(st.characters(categories=("L", "N")), min_size=8, max_size=40)


@given(st.data(), st.integers(1, 5))
def test_answer_that_fits_the_schema_is_read(data: st.DataObject, number: int) -> None:
    side = st.lists(SENTENCE, min_size=number, max_size=number)
    value = {"activating": data.draw(side), "neutral": data.draw(side)}
    jsonschema.validate(value, sentences.schema(number))
    read = sentences.read(json.dumps(value), "stop", number)
    assert read.activating == tuple(value["activating"])
    assert read.neutral == tuple(value["neutral"])


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
        sentences.read(json.dumps(value), "stop", 2)
    assert bad.value.status == "unreadable"
