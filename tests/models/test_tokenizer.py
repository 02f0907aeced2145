"""Prompts as an LLM's tokenizer reads them."""

import pytest

from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.tokenizer import SubjectTokenizer

MESSAGES = [
    {"role": "system", "content": "the house"},
    {"role": "user", "content": "was near"},
]
TURNS = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"


@pytest.fixture
def tokenizer(planted: PlantedTruth) -> SubjectTokenizer:
    return SubjectTokenizer.load(str(planted.folder / "subject"))


def test_prompt_is_rendered_by_the_chat_template_up_to_the_answer(
    tokenizer: SubjectTokenizer,
) -> None:
    tokenizer.hf.chat_template = TURNS + "{% if add_generation_prompt %}the old{% endif %}"
    expected = tokenizer.encode("system the house user was near the old")
    assert tokenizer.encode_prompt(MESSAGES) == expected


def test_template_without_a_system_turn_gets_it_in_the_first_users(
    tokenizer: SubjectTokenizer,
) -> None:
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer.hf.chat_template = refusal + TURNS
    expected = tokenizer.encode("user the house\n\nwas near ")
    assert tokenizer.encode_prompt(MESSAGES) == expected


def test_without_a_template_contents_alone_are_counted(tokenizer: SubjectTokenizer) -> None:
    tokenizer.hf.chat_template = None
    assert tokenizer.encode_prompt(MESSAGES) == tokenizer.encode("the house\nwas near")
