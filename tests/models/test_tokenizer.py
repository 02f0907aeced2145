"""Prompts as an LLM's tokenizer reads them."""

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

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


def test_id_without_a_token_is_shown_as_its_number(tokenizer: SubjectTokenizer) -> None:
    (known,), end = tokenizer.encode("house"), tokenizer.num_ids
    assert end == len(tokenizer.hf)
    shown = tokenizer.texts([known, end - 1, end, end + 7])
    assert shown[0] == "house"
    assert not shown[1].startswith("<id")
    assert shown[2:] == [f"<id {end}>", f"<id {end + 7}>"]


def test_ids_are_counted_to_the_largest_where_some_in_between_have_no_token() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 9}, unk_token="<unk>"))
    with_hole = SubjectTokenizer(PreTrainedTokenizerFast(tokenizer_object=words))
    assert with_hole.num_ids == 10
    assert with_hole.texts([1, 5, 9]) == ["a", "<id 5>", "b"]
