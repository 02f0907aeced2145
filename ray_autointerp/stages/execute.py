"""One task, executed: the stage of the step's name, run at a desk. Both runners call this.

A stage is the module of its step's name, with one function `run(task, desk)`; llm stages are
coroutines, so that many of their tasks share one engine. Modules load with their first task: a
worker that only asks an LLM never waits for the subject's libraries.
"""

import importlib
import inspect

from ray_autointerp.errors import TaskError
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk


async def execute(task: Task, desk: Desk) -> str | None:
    """Run the task; when this returns, its objects are on the store.

    Returns what the ledger should keep of it: that batches had to be halved, or nothing.
    """
    before = desk.halvings
    stage = importlib.import_module(f"ray_autointerp.stages.{task.step}")
    try:
        ended = stage.run(task, desk)
        if inspect.isawaitable(ended):
            await ended
    except (MemoryError, RuntimeError) as error:
        if desk.is_out_of_memory(error):
            raise TaskError(
                "not even one row of a pass fits into memory: give the worker more, or shorten "
                "the windows"
            ) from error
        raise
    times = desk.halvings - before
    return f"batches halved {times} time(s) for want of memory" if times else None
