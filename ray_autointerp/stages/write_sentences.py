"""write_sentences: from each description, sentences that should and should not activate.

Several separately seeded answers per description, because sentences of one answer are one
cluster (methods 16). The writer sees the description alone.
"""

import asyncio

from ray_autointerp.prompts import sentences
from ray_autointerp.prompts.message import digest
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.stages.answered import ask_and_read
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.tables import Row

_TOKENS_PER_SENTENCE = 64
_LEAST_TEMPERATURE = 0.7
"""Draws must differ, so the writer is never greedy."""


async def run(task: Task, desk: Desk) -> None:
    """Write one selection shard of `sentences/<method>`: a row per latent and draw."""
    assert task.sae is not None and task.method is not None
    latents = desk.chosen(task)
    described = desk.row("descriptions", task.sae, latents, task.method)
    rows = await asyncio.gather(
        *(
            _draw(latent, draw, described[latent], desk)
            for latent in latents
            for draw in range(desk.run.config.score.num_draws)
        )
    )
    desk.write(task, "sentences", rows)


async def _draw(latent: int, draw: int, described: Row, desk: Desk) -> Row:
    key = {"latent": latent, "draw": draw}
    if described["status"] != "ok":
        return {**key, "status": "no_evidence"}
    number = desk.run.config.score.num_sentences
    messages = sentences.ask(described["description"], number)
    answered = await ask_and_read(
        desk,
        messages,
        lambda text, finish_reason: sentences.read(text, finish_reason, number),
        seed=derive_seed(digest(messages), "sentences", draw),
        purpose=f"sentences {draw}",
        max_tokens=2 * number * _TOKENS_PER_SENTENCE,
        temperature=max(desk.run.config.llm.temperature, _LEAST_TEMPERATURE),
        json_schema=sentences.schema(number),
    )
    row = {**key, "status": answered.status, **answered.kept}
    if answered.value is None:
        return row
    written = answered.value
    return row | {"activating": list(written.activating), "neutral": list(written.neutral)}
