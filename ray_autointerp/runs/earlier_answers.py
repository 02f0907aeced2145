"""Answers of an earlier run that serve a task of a later one: the same question is not paid twice.

A step that is not inherited, because other latents are chosen or its revision differs, still asks
mostly what the parent asked. Where the same LLM answers in the same way, the parent's answers are
looked up by request. Those of a task are its latents' alone: a whole step's may not fit in memory.
"""

import asyncio

from ray_autointerp.llm.client import Answer
from ray_autointerp.plan.identity import Node
from ray_autointerp.plan.shards import num_shards
from ray_autointerp.records.task import Task
from ray_autointerp.runs.answers import remembered
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.tables import Tables


async def earlier_answers(tables: Tables, task: Task) -> dict[str, Answer]:
    """By key of a request, what the earlier run was answered about the task's latents.

    Empty where the run has no parent, or another LLM, and of a task that is about no latents.
    Raises StoreError.
    """
    if task.sae is None:
        return {}
    folder = tables.run.answered_by.get(Node(task.step, task.sae, task.method).name)
    if folder is None:
        return {}
    earlier = tables.kept(("run", folder), lambda: Tables(load_run(tables.run.sibling(folder))))
    place = {latent: i for i, latent in enumerate(earlier.asked_about(task.sae, task.method))}
    size = earlier.run.axes.selected_per_shard
    shards = {place[latent] // size for latent in tables.chosen(task) if latent in place}
    found: dict[str, Answer] = {}
    for shard in sorted(shards):
        other = Task(task.step, task.sae, task.method, shard, num_shards(len(place), size))
        known, _ = await asyncio.to_thread(remembered, earlier.store, other)
        found |= known
    return found
