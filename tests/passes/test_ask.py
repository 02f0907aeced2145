"""What was declined, cut off or is no description is asked for once more, then kept."""

import asyncio
from typing import Any

import pytest

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.passes.ask import Answered, ask_and_read, choice_status
from ray_autointerp.prompts.answer import read_description
from ray_autointerp.prompts.message import Message, digest
from ray_autointerp.records.keys import derive_seed

MESSAGES = (Message("user", "describe it"),)
GOOD = Answer("words about ships", "stop")
REFUSED = Answer("I'm sorry, but no.", "stop")
CUT = Answer("words about", "length")
LINT = Answer("<<word>> here", "stop")


class WorkerContext:
    """A context with nothing but an LLM, which gives one answer after the other."""

    def __init__(self, *answers: Answer) -> None:
        self.llm = self
        self._answers = list(answers)
        self.asked: list[Request] = []

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        return self._answers.pop(0)


def asked(
    context: Any, *, seed: int = 1, purpose: str = "max_act", temperature: float = 0.0
) -> Any:
    return asyncio.run(
        ask_and_read(
            context,
            MESSAGES,
            read_description,
            seed=seed,
            purpose=purpose,
            max_tokens=90,
            temperature=temperature,
        )
    )


@pytest.mark.parametrize("first", [REFUSED, CUT, LINT])
def test_answer_that_was_declined_cut_off_or_lint_is_asked_for_once_more(first: Answer) -> None:
    context = WorkerContext(first, GOOD)
    answered: Answered[str] = asked(context)
    assert (answered.status, answered.value) == ("ok", "words about ships")
    assert answered.kept["answer"] == GOOD.text
    assert len(context.asked) == 2


@pytest.mark.parametrize(
    ("first", "status"), [(REFUSED, "refused"), (CUT, "truncated"), (LINT, "lint")]
)
def test_after_the_second_try_the_row_is_kept_as_it_is(first: Answer, status: str) -> None:
    context = WorkerContext(first, first, GOOD)
    answered = asked(context)
    assert (answered.status, answered.value, len(context.asked)) == (status, None, 2)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (GOOD, "ok"),
        (Answer("?", "stop"), "unreadable"),
        (Answer("too long", "error"), "failed"),
        (Answer("", "over_budget"), "over_budget"),
        (Answer("it kills", "quarantined"), "quarantined"),
    ],
)
def test_everything_else_is_asked_once(answer: Answer, status: str) -> None:
    context = WorkerContext(answer, GOOD)
    answered = asked(context)
    assert (answered.status, len(context.asked)) == (status, 1)
    assert answered.kept == {
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_digest": digest(MESSAGES),
    }


def test_answer_outlives_a_second_try_that_was_not_asked() -> None:
    context = WorkerContext(CUT, Answer("", "over_budget"))
    answered = asked(context)
    assert (answered.status, answered.kept["answer"]) == ("truncated", CUT.text)


def test_second_try_differs_by_seed_and_is_never_greedy() -> None:
    context = WorkerContext(REFUSED, GOOD)
    asked(context, seed=7, purpose="max_act", temperature=0.0)
    first, second = context.asked
    assert (first.seed, first.temperature) == (7, 0.0)
    assert second.seed == derive_seed(digest(MESSAGES), "max_act", 1)
    assert second.temperature >= 0.7
    hot = WorkerContext(REFUSED, GOOD)
    asked(hot, temperature=1.3)
    assert {request.temperature for request in hot.asked} == {1.3}


def test_second_tries_of_draws_have_seeds_of_their_own() -> None:
    prompt = digest(MESSAGES)
    seeds = [derive_seed(prompt, "sentences", draw) for draw in range(5)]
    for draw in range(5):
        context = WorkerContext(REFUSED, GOOD)
        asked(context, seed=seeds[draw], purpose=f"sentences {draw}")
        seeds.append(context.asked[1].seed)
    assert len(set(seeds)) == 10


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer("A", "stop", {"A": -0.1, "B": -2.0}), "ok"),
        (Answer("A", "stop"), "unreadable"),
        (Answer("", "over_budget"), "over_budget"),
        (Answer("it kills", "quarantined"), "quarantined"),
        (Answer("too long", "error"), "failed"),
    ],
)
def test_judgement_says_why_it_is_missing(answer: Answer, status: str) -> None:
    assert choice_status(answer) == status
