"""explain: evidence to descriptions, one method and one selection shard at a time.

MaxAct, VocabProj, TokenChange and Ensemble Raw ask once per latent; Ensemble Concat asks for its
three parts again at a third of the cap and joins them. An answer that is no description, or that
repeats a worked example of its prompt, is a row with its status and the raw answer.
"""

import asyncio
from collections.abc import Sequence

from ray_autointerp.passes.ask import ask_and_read
from ray_autointerp.plan.evidence import EXPLAINERS, evidence_of
from ray_autointerp.prompts import ensemble
from ray_autointerp.prompts.answer import read_description
from ray_autointerp.prompts.message import Message, digest
from ray_autointerp.prompts.repeated_text import worked_answers
from ray_autointerp.prompts.shown import Rows, Shown
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_TOKENS_PER_WORD = 3
"""Room for an answer: words of the cap times this, so that the cap and not the limit decides."""


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `descriptions/<method>`."""
    assert task.sae is not None and task.method is not None
    latents = context.tables.chosen(task)
    tables = {
        read.table: context.tables.rows(read.table, task.sae, latents, read.method)
        for read in evidence_of(task.method, context.run.config)
    }
    stats = context.tables.row("latent_stats", task.sae, latents)
    describe = context.run.config.describe
    rows = await asyncio.gather(
        *(
            _described(
                latent,
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
    context.write(task, "descriptions", rows)


async def _described(
    latent: int, rows: Rows, shown: Shown, method: str, context: WorkerContext
) -> Row:
    cap = context.run.config.describe.cap_words
    explainer = EXPLAINERS[method]
    if explainer.parts:
        return {"latent": latent, **await _joined(explainer.parts, rows, shown, context)}
    messages = explainer.prompt(rows, shown, cap)
    if messages is None:
        return {"latent": latent, "status": "no_evidence"}
    return {"latent": latent, **await _asked(messages, method, cap, context)}


async def _joined(parts: Sequence[str], rows: Rows, shown: Shown, context: WorkerContext) -> Row:
    """Ensemble Concat: the parts that exist, each at its share of the cap."""
    cap = ensemble.part_cap(context.run.config.describe.cap_words)
    prompts = {
        part: messages
        for part in parts
        if (messages := EXPLAINERS[part].prompt(rows, shown, cap)) is not None
    }
    answered = dict(
        zip(
            prompts,
            await asyncio.gather(
                *(_asked(m, f"concat {part}", cap, context) for part, m in prompts.items())
            ),
            strict=True,
        )
    )
    text = ensemble.joined(
        {part: row["description"] for part, row in answered.items() if row["description"]}
    )
    failed = next(
        (row["status"] for row in answered.values() if row["status"] != "ok"), "no_evidence"
    )
    return {
        "status": "ok" if text else failed,
        "description": text,
        "answer": "\n".join(row["answer"] for row in answered.values()) if answered else None,
        "finish_reason": None,
        "prompt_digest": "+".join(row["prompt_digest"] for row in answered.values()) or None,
    }


async def _asked(
    messages: tuple[Message, ...], purpose: str, cap: int, context: WorkerContext
) -> Row:
    worked = worked_answers(messages)
    answered = await ask_and_read(
        context,
        messages,
        lambda text, finish_reason: read_description(text, finish_reason, worked),
        seed=derive_seed(digest(messages), purpose, 0),
        purpose=purpose,
        max_tokens=cap * _TOKENS_PER_WORD,
        temperature=context.run.config.llm.temperature,
    )
    text = answered.value
    return {
        "status": answered.status,
        # One cap for every method (methods 16): a longer answer does not get to say more.
        "description": None if text is None else " ".join(text.split()[:cap]),
        **answered.kept,
    }
