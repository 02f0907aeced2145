"""A question in words, asked and read: its status, what was read, and what the row keeps of it.

An answer that was declined or cut off is asked for once more, with another seed; what comes then
is kept, whatever it is. Judgements are one token of a fixed list: nothing to decline or cut off.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.prompts.answer import BadAnswer
from ray_autointerp.prompts.judgement import Write
from ray_autointerp.prompts.message import Message, digest
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.status import Status
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

T = TypeVar("T")

LEAST_SAMPLING_TEMPERATURE = 0.7
"""Of answers that must differ: at 0 another seed gives the same one."""

_TRY_AGAIN: frozenset[Status] = frozenset({"refused", "truncated", "lint"})

_NOT_ASKED: dict[str, Status] = {
    "error": "failed",
    "over_budget": "over_budget",
    "quarantined": "quarantined",
}


@dataclass(frozen=True)
class Answered(Generic[T]):
    """What came of a question."""

    status: Status
    value: T | None
    """What was read, where the status is `ok`."""
    kept: Row
    """The columns `answer`, `finish_reason` and `prompt_digest`."""


async def ask_and_read(
    context: WorkerContext,
    messages: tuple[Message, ...],
    read: Callable[[str, str], T],
    *,
    seed: int,
    purpose: str,
    max_tokens: int,
    temperature: float,
    json_schema: Mapping[str, Any] | None = None,
) -> Answered[T]:
    """Ask, read by `read(text, finish_reason)` (BadAnswer is a status), once more if need be.

    `seed` is the first try's; the second's derives from the prompt and the `purpose`, which must
    tell apart whatever asks the same prompt.
    """
    prompt = digest(messages)

    async def tried(seed: int, temperature: float) -> Answered[T]:
        answer = await context.llm.ask(
            Request(
                messages,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                json_schema=json_schema,
            )
        )
        status, value = _read(answer, read)
        kept = {"answer": answer.text, "finish_reason": answer.finish_reason}
        return Answered(status, value, {**kept, "prompt_digest": prompt})

    first = await tried(seed, temperature)
    if first.status not in _TRY_AGAIN:
        return first
    second = await tried(
        derive_seed(prompt, purpose, 1), max(temperature, LEAST_SAMPLING_TEMPERATURE)
    )
    return first if second.status in _NOT_ASKED.values() else second


async def ask_to_choose(
    context: WorkerContext, messages: tuple[Message, ...], choices: tuple[str, ...]
) -> Answer:
    """One token out of the choices, with their log-probabilities; see `choice_status`."""
    seed = derive_seed(digest(messages), "judge", 0)
    return await context.llm.ask(Request(messages, max_tokens=1, seed=seed, choices=choices))


async def ask_loglikelihood(
    context: WorkerContext, messages: tuple[Message, ...], answer: str
) -> Answer:
    """The log-probabilities of the tokens of a given answer; see `choice_status`."""
    return await context.llm.ask(Request(messages, max_tokens=1, answer=answer))


async def ask_gains(
    context: WorkerContext, write: Write, description: str, texts: Sequence[str]
) -> list[tuple[Status, float | None]]:
    """For each text, by how many nats it is likelier, as the answer to `write`, with the
    description than without one; or why that is not known.
    """
    asked = [(write(about), text) for about in (description, None) for text in texts]
    answers = await asyncio.gather(*(ask_loglikelihood(context, *one) for one in asked))
    gains: list[tuple[Status, float | None]] = []
    for pair in zip(answers[: len(texts)], answers[len(texts) :], strict=True):
        if failed := failures(pair):
            gains.append((failed[0], None))
        else:
            with_it, without = map(loglikelihood, pair)
            gains.append(("ok", with_it - without))
    return gains


def loglikelihood(answer: Answer) -> float:
    """The log-probability of a given answer, in nats."""
    return sum(answer.answer_logprobs or ())


def failures(answers: Iterable[Answer]) -> list[Status]:
    """The statuses of those that are not `ok`."""
    return [status for answer in answers if (status := choice_status(answer)) != "ok"]


def choice_status(answer: Answer) -> Status:
    """`ok` where there are log-probabilities of what was given, else why there are none."""
    if answer.finish_reason in _NOT_ASKED:
        return _NOT_ASKED[answer.finish_reason]
    has_none = answer.choice_logprobs is None and answer.answer_logprobs is None
    return "unreadable" if has_none else "ok"


def _read(answer: Answer, read: Callable[[str, str], T]) -> tuple[Status, T | None]:
    if answer.finish_reason in _NOT_ASKED:
        return _NOT_ASKED[answer.finish_reason], None
    try:
        return "ok", read(answer.text, answer.finish_reason)
    except BadAnswer as bad:
        return bad.status, None
