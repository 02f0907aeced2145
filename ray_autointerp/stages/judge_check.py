"""judge_check: does the judge answer in the allowed ways, and what anybody could answer?

Judgements are log-probabilities of a few allowed answers. A model that would rather say something
else (think aloud, greet, repeat the question) gives numbers all the same, of what it does not
mean. So each kind of question that the run asks is asked once with a known answer, in both orders.
By likelihood the judge says nothing: what is checked is that it is not wrong.
"""

import asyncio
import logging
import math

from ray_autointerp.config import Config
from ray_autointerp.errors import LLMError
from ray_autointerp.methods.output_score import ChoiceLogprobs
from ray_autointerp.passes.ask import ask_gains, ask_to_choose, choice_status
from ray_autointerp.prompts.known_answer import (
    KnownAnswer,
    KnownLikelihood,
    known_answers,
    known_likelihood,
)
from ray_autointerp.prompts.message import digest
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_log = logging.getLogger(__name__)


async def run(task: Task, context: WorkerContext) -> None:
    """Write `judge_check/<step>`: a row for each order, or one of likelihoods.

    Raises LLMError where the allowed answers hold less of the probability than the config wants.
    """
    assert task.method is not None
    config = context.run.config
    if config.score.judged_by == "choice":
        asked = enumerate(known_answers(task.method))
        rows = list(await asyncio.gather(*(_row(order, one, context) for order, one in asked)))
        _check_allowed(task.method, rows, config)
    else:
        rows = [await _likelihood_row(known_likelihood(task.method), context)]
    _check_right(task.method, rows, config)
    context.write(task, "judge_check", rows)


async def _row(order: int, known: KnownAnswer, context: WorkerContext) -> Row:
    answer = await ask_to_choose(context, known.messages, known.choices)
    row: Row = {
        "order": order,
        "status": choice_status(answer),
        "prompt_digest": digest(known.messages),
        "right_answer": known.right,
        "answer": answer.text,
    }
    if answer.choice_logprobs is None:
        return row
    probabilities = {c: math.exp(logprob) for c, logprob in answer.choice_logprobs.items()}
    other = max(answer.choice_logprobs[choice] for choice in known.wrong)
    return row | {
        "allowed": sum(probabilities.values()),
        "log_odds": ChoiceLogprobs(answer.choice_logprobs[known.right], other).log_odds,
    }


async def _likelihood_row(known: KnownLikelihood, context: WorkerContext) -> Row:
    texts = (known.fitting, known.other)
    gains = await ask_gains(context, known.write, known.description, texts)
    (status, fitting), (other_status, other) = gains
    row: Row = {
        "order": 0,
        "status": status if status != "ok" else other_status,
        "prompt_digest": digest(known.write(known.description)),
    }
    if fitting is None or other is None:
        return row
    return row | {"log_odds": fitting - other}


def _check_allowed(step: str, rows: list[Row], config: Config) -> None:
    statuses = {row["status"] for row in rows}
    if not statuses <= {"ok", "unreadable"}:  # not asked, for want of money
        return
    # What cannot be read has none of the allowed answers among its likeliest.
    allowed = sum(row.get("allowed", 0.0) for row in rows) / len(rows)
    least = config.judge_check.least_allowed
    said = ", ".join(f"`{text}`" for text in dict.fromkeys(row["answer"] for row in rows))
    if allowed < least:
        raise LLMError(
            f"The judge {_name(config)} puts {allowed:.0%} of its probability on the "
            f"answers that the questions of {step} allow (it said {said}): its log-probabilities "
            "would be of what it does not mean. Name another in [judge], switch its thinking off "
            "(chat_template_kwargs), or, if it is meant, set judge_check.least_allowed to "
            f"{math.floor(100 * allowed) / 100:g}."
        )


def _check_right(step: str, rows: list[Row], config: Config) -> None:
    if all(row["status"] == "ok" for row in rows) and sum(row["log_odds"] for row in rows) <= 0:
        _log.warning(
            "The judge %s gets a plain question of %s wrong: expect its scores to be at chance.",
            _name(config),
            step,
        )


def _name(config: Config) -> str:
    return config.judging.model or config.judging.script
