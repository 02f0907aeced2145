"""write_sentences: from each description, sentences that should activate, and neutral ones.

Several separately seeded answers per description, because sentences of one answer are one
cluster (methods 16). The last ones only choose the label. The writer sees the description alone.

Neutral sentences are the package's, the same for all methods, unless the config has them written:
small writers cannot keep away from what they are told to avoid (jobs/benchmarks/README.md, "What
the input score compares with").
"""

import asyncio

from ray_autointerp.passes.ask import LEAST_SAMPLING_TEMPERATURE, ask_and_read
from ray_autointerp.plan.units import sentence_requests, sentence_text
from ray_autointerp.prompts import sentences
from ray_autointerp.prompts.message import digest
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_TOKENS_PER_SENTENCE = 64


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `sentences/<method>`: a row per latent and draw."""
    assert task.sae is not None and task.method is not None
    latents = context.tables.chosen(task)
    described = context.tables.row("descriptions", task.sae, latents, task.method)
    rows = await asyncio.gather(
        *(
            _draw(latent, draw, described[latent], context)
            for latent in latents
            for draw in range(sentence_requests(task.method, context.run.config))
        )
    )
    context.write(task, "sentences", rows)


async def _draw(latent: int, draw: int, described: Row, context: WorkerContext) -> Row:
    key = {"latent": latent, "draw": draw}
    if described["status"] != "ok":
        return {**key, "status": "no_evidence"}
    config = context.run.config
    number, name = config.score.num_sentences, sentence_text(config)
    messages = sentences.ask(name, described["description"], number)
    answered = await ask_and_read(
        context,
        messages,
        lambda text, finish_reason: sentences.read(name, text, finish_reason, number),
        seed=derive_seed(digest(messages), "sentences", draw),
        purpose=f"sentences {draw}",
        max_tokens=len(sentences.SIDES[name]) * number * _TOKENS_PER_SENTENCE,
        temperature=max(config.llm.temperature, LEAST_SAMPLING_TEMPERATURE),
        json_schema=sentences.schema(name, number),
    )
    row = {**key, "status": answered.status, **answered.kept}
    if answered.value is None:
        return row
    written = answered.value
    neutral = written.neutral or sentences.neutral_sentences(latent, draw, number, config.run.seed)
    return row | {"activating": list(written.activating), "neutral": list(neutral)}
