"""explain: evidence to descriptions, one method and one selection shard at a time.

Most methods ask once per latent. A further candidate (`max_act_2`) asks the same at a temperature
at which answers differ. Ensemble Concat asks for its three parts again at a third of the cap and
joins them; uncapped it joins the finished descriptions without asking. `name` takes the name out of
the finished description. An answer that is no description, or that repeats its prompt, is a row
with its status and the raw answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from ray_autointerp.passes.ask import LEAST_SAMPLING_TEMPERATURE, ask_and_read
from ray_autointerp.plan.evidence import evidence_of, explainer_of, is_candidate
from ray_autointerp.plan.step import Read
from ray_autointerp.prompts import ensemble
from ray_autointerp.prompts.message import digest
from ray_autointerp.prompts.question import Question
from ray_autointerp.prompts.shown import Rows, Shown
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_TOKENS_PER_WORD = 3
"""Room for an answer: words of the cap times this, so that the cap and not the limit decides."""

_JSON_TOKENS = 64
"""Room for the names and marks of a structured answer beside its words."""


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `descriptions/<method>`."""
    assert task.sae is not None and task.method is not None
    latents = context.tables.chosen(task)
    tables = {
        _name(read): context.tables.rows(read.table, task.sae, latents, read.method)
        for read in evidence_of(task.method, context.run.config)
    }
    stats = context.tables.row("latent_stats", task.sae, latents)
    describe = context.run.config.describe
    rows = await asyncio.gather(
        *(
            _described(
                {table: rows[latent] for table, rows in tables.items()},
                Shown(
                    describe.num_examples,
                    describe.num_tokens_shown,
                    stats[latent]["max_activation"],
                ),
                task.method,
                context,
            )
            for latent in latents
        )
    )
    named = ({"latent": latent, **row} for latent, row in zip(latents, rows, strict=True))
    context.write(task, "descriptions", list(named))


def _name(read: Read) -> str:
    """How a method knows the table: descriptions are of several methods."""
    return f"descriptions/{read.method}" if read.table == "descriptions" else read.table


async def _described(rows: Rows, shown: Shown, method: str, context: WorkerContext) -> Row:
    explainer = explainer_of(method)
    if explainer.parts:
        return await _asked_in_parts(explainer.parts, rows, shown, context)
    if explainer.text is None:
        parts = {part: rows[f"descriptions/{part}"][0] for part in explainer.descriptions}
        return _joined(parts, explainer.column)
    describe = context.run.config.describe
    question = explainer.question(rows, shown, describe.cap_words, describe.structured)
    if question is None:
        return {"status": "no_evidence"}
    least = LEAST_SAMPLING_TEMPERATURE if is_candidate(method) else 0.0
    return await _asked(question, method, describe.cap_words, context, least)


async def _asked_in_parts(
    parts: Sequence[str], rows: Rows, shown: Shown, context: WorkerContext
) -> Row:
    """Ensemble Concat: the parts that exist, each at its share of the cap."""
    describe = context.run.config.describe
    cap = ensemble.part_cap(describe.cap_words)
    questions = {
        part: question
        for part in parts
        if (question := explainer_of(part).question(rows, shown, cap, describe.structured))
    }
    answers = await asyncio.gather(
        *(_asked(question, f"concat {part}", cap, context) for part, question in questions.items())
    )
    return _joined(dict(zip(questions, answers, strict=True)), "description")


def _joined(parts: dict[str, Any], column: str) -> Row:
    """One row of several methods' rows; where none is `ok`, it says what became of the first."""
    text = "\n".join(row[column] for row in parts.values() if row[column]) or None
    answered = [row for row in parts.values() if row["status"] != "no_evidence"]
    failed = next((row["status"] for row in answered if row["status"] != "ok"), "no_evidence")
    return {
        "status": "ok" if text else failed,
        "description": text,
        "answer": "\n".join(row["answer"] for row in answered) if answered else None,
        "finish_reason": None,
        "prompt_digest": "+".join(row["prompt_digest"] for row in answered) or None,
    }


async def _asked(
    question: Question, purpose: str, cap: int, context: WorkerContext, least_temperature: float = 0
) -> Row:
    messages = question.messages
    room = 0 if question.json_schema is None else _JSON_TOKENS
    answered = await ask_and_read(
        context,
        messages,
        question.read,
        seed=derive_seed(digest(messages), purpose, 0),
        purpose=purpose,
        max_tokens=cap * _TOKENS_PER_WORD + room,
        temperature=max(context.run.config.llm.temperature, least_temperature),
        json_schema=question.json_schema,
    )
    columns = {"description": None} | dict(answered.value or {})
    return {"status": answered.status, **columns, **answered.kept}
