"""The planted script is ideal and blind: what it says follows from the prompt's text alone."""

import asyncio
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError
from ray_autointerp.llm.client import Request
from ray_autointerp.llm.open import check_llm, open_llm
from ray_autointerp.llm.scripted import planted_script
from ray_autointerp.prompts import (
    detection,
    fuzzing,
    intervention_surprisal,
    judge,
    max_act,
    named_keywords,
    question,
    sentences,
    token_lists,
    unseen_tokens,
)
from ray_autointerp.prompts.max_act import Example, MaxActEvidence
from ray_autointerp.prompts.named_keywords import Keywords
from ray_autointerp.prompts.question import Columns
from ray_autointerp.prompts.token_lists import TokenLists

SECTION = LLMSection(backend="scripted", script="ray_autointerp.llm.scripted:planted_script")


def test_explainer_names_the_marked_and_the_promoted_word() -> None:
    example = Example((" the", " owl", " and"), (0.0, 3.0, 0.0))
    examples = max_act.rendered(MaxActEvidence((example,), 3.0))
    assert said("max_act", examples) == {"description": 'responds to "owl"'}
    lists = token_lists.rendered(TokenLists((" moon",), (" sun",)))
    assert said("vocab_proj", lists) == {"description": 'leads to "moon"'}
    structured = said("vocab_proj", lists, is_structured=True)
    assert (structured["trigger"], structured["promotes"]) == (None, '"moon"')
    merged = 'From texts that activate it: fires on "owl"\nFrom its direction: promotes "moon"'
    assert said("summary", merged) == {"description": 'responds to "owl" and leads to "moon"'}


def test_namer_joins_the_first_words_of_both_lists() -> None:
    asked = named_keywords.ask("named_keywords", Keywords('"owl", "hoot"', '"moon"'), 25, False)
    answer = planted_script(Request(asked.messages, max_tokens=40))
    assert asked.read(answer.text, "stop")["name"] == "owl and moon"


def said(name: str, evidence: str, is_structured: bool = False) -> Columns:
    asked = question.ask(name, evidence, 25, is_structured)
    request = Request(asked.messages, max_tokens=99, json_schema=asked.json_schema)
    return asked.read(planted_script(request).text, "stop")


@pytest.mark.parametrize("name", [sentences.ACTIVATING, sentences.BOTH])
def test_writer_uses_the_described_word_in_activating_sentences_alone(name: str) -> None:
    asked, schema = sentences.ask(name, 'responds to "owl"', 3), sentences.schema(name, 3)
    answer = planted_script(Request(asked, 400, json_schema=schema))
    written = sentences.read(name, answer.text, answer.finish_reason, 3)
    assert all("owl" in text for text in written.activating)
    assert not any("owl" in text for text in written.neutral)
    assert json.loads(answer.text).keys() == schema["properties"].keys()


@pytest.mark.parametrize("is_first", [True, False])
def test_judge_prefers_the_set_with_the_described_word_and_leans_to_the_first(
    is_first: bool,
) -> None:
    true, other = ["the moon rose"], ["a tax on wool"]
    sets = (true, other) if is_first else (other, true)
    asked = Request(judge.ask_two('leads to "moon"', *sets), 1, choices=judge.TWO_SET_CHOICES)
    logprobs = planted_script(asked).choice_logprobs
    assert logprobs is not None
    assert math.isclose(sum(math.exp(value) for value in logprobs.values()), 1.0)
    assert (logprobs["A"] > logprobs["B"]) == is_first
    blind = planted_script(replace(asked, messages=judge.ask_two("nothing", *sets)))
    assert blind.choice_logprobs is not None
    assert blind.choice_logprobs["A"] > blind.choice_logprobs["B"]


def test_judge_knows_a_family_of_words_by_one_of_them() -> None:
    lists = (["meow21", "meow34"], ["bark21", "12"])
    asked = Request(unseen_tokens.ask('leads to "meow1"', *lists), 1, choices=judge.TWO_SET_CHOICES)
    logprobs = planted_script(asked).choice_logprobs
    assert logprobs is not None and logprobs["A"] - logprobs["B"] == pytest.approx(2.25)
    swapped = replace(asked, messages=unseen_tokens.ask('leads to "meow1"', *reversed(lists)))
    logprobs = planted_script(swapped).choice_logprobs
    assert logprobs is not None and logprobs["A"] - logprobs["B"] == pytest.approx(-1.75)


@pytest.mark.parametrize(
    ("step", "texts"),
    [
        (detection, ["a tax on wool", "the moon rose", "the old sun"]),
        (fuzzing, ["<<a>> moon on wool", "the <<moon>> rose", "the old <<sun>>"]),
    ],
)
def test_judge_says_yes_to_the_text_or_the_marks_with_the_described_word(
    step: Any, texts: list[str]
) -> None:
    """It likes earlier texts a little better, described or not."""

    def log_odds(description: str, number: int) -> float:
        messages = step.ask(texts, description, number)
        logprobs = planted_script(Request(messages, 1, choices=detection.CHOICES)).choice_logprobs
        assert logprobs is not None
        assert math.isclose(sum(math.exp(value) for value in logprobs.values()), 1.0)
        return logprobs["Yes"] - logprobs["No"]

    assert [log_odds('responds to "moon"', n) > 0 for n in (1, 2, 3)] == [False, True, False]
    blind = [log_odds("nothing", n) for n in (1, 2, 3)]
    assert 0 > blind[0] > blind[1] > blind[2]


def test_given_answer_is_likelier_after_texts_that_say_its_words() -> None:
    def loglikelihood(*texts: str) -> float:
        messages = intervention_surprisal.ask(texts)
        asked = Request(messages, 1, answer='leads to "moon1"')
        logprobs = planted_script(asked).answer_logprobs
        assert logprobs is not None and len(logprobs) == 3
        return sum(logprobs)

    steered, other = (
        loglikelihood("the moon rose", "a moon2"),
        loglikelihood("the sun rose", "a sun2"),
    )
    assert steered == pytest.approx(other + math.log(3)) and other < 0


def test_scripted_llm_answers_by_its_script_and_has_nothing_to_start() -> None:
    llm = open_llm(SECTION, threads=1)
    example = Example((" owl",), (3.0,))
    shown = max_act.rendered(MaxActEvidence((example,), 3.0))
    asked = Request(question.ask("max_act", shown, 25, False).messages, max_tokens=40)

    async def use() -> str:
        await llm.start()
        answer = await llm.ask(asked)
        await llm.close()
        return answer.text

    assert asyncio.run(use()) == 'responds to "owl"'


@pytest.mark.parametrize("script", ["nowhere:planted", "json:nothing", "json", ""])
def test_script_that_cannot_be_imported_is_one_sentence(script: str) -> None:
    with pytest.raises(LLMError, match=r"module:function.*cannot be imported"):
        check_llm(SECTION.model_copy(update={"script": script}), gpus=0)
