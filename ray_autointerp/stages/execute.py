"""One task, executed: the stage of the step's name, run at a desk. Both runners call this."""

import inspect
from collections.abc import Awaitable, Callable

from ray_autointerp.records.task import Task
from ray_autointerp.stages import (
    calibrate,
    corpus,
    explain,
    hub_stats,
    input_score,
    keywords,
    max_act,
    neighbours,
    output_score,
    publish,
    select,
    steering,
    token_change,
    top_examples,
    vocab_proj,
    write_sentences,
)
from ray_autointerp.stages.desk import Desk

Stage = Callable[[Task, Desk], None] | Callable[[Task, Desk], Awaitable[None]]

STAGES: dict[str, Stage] = {
    "corpus": corpus.run,
    "max_act": max_act.run,
    "top_examples": top_examples.run,
    "neighbours": neighbours.run,
    "hub_stats": hub_stats.run,
    "vocab_proj": vocab_proj.run,
    "keywords": keywords.run,
    "select": select.run,
    "calibrate": calibrate.run,
    "token_change": token_change.run,
    "explain": explain.run,
    "write_sentences": write_sentences.run,
    "input_score": input_score.run,
    "steering": steering.run,
    "output_score": output_score.run,
    "publish": publish.run,
}
"""By step name; llm stages are coroutines, so that many of their tasks share one engine."""


async def execute(task: Task, desk: Desk) -> None:
    """Run the task; when this returns, its objects are on the store."""
    ended = STAGES[task.step](task, desk)
    if inspect.isawaitable(ended):
        await ended
