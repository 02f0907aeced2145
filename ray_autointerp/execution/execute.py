"""One task, executed in a worker's context by the stage of its step. Both runners call this.

A stage is the module of its step's name, with one function `run(task, context)`; llm stages are
coroutines, so that many of their tasks share one engine. Modules load with their first task: a
worker that only asks an LLM never waits for the subject's libraries.
"""

import importlib
import inspect
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ray_autointerp.errors import TaskError
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.answers import Answers
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.earlier_answers import earlier_answers


@dataclass(frozen=True)
class Done:
    """What the ledger should keep of a task that was done."""

    detail: str | None
    """That batches were halved, or rows failed for want of finite numbers; or nothing."""
    usage: Usage
    """What its answers cost; of an attempt that failed, `context.spending.claim(task)` knows."""


async def execute(
    task: Task,
    context: WorkerContext,
    *,
    width: int | None = None,
    turn: AbstractContextManager[object] | None = None,
) -> Done:
    """Run the task; when this returns, its objects are on the store.

    `width` bounds the LLM requests that are asked at once (see Answers). What was answered is
    kept, also where the task fails: with EngineDied, OverBudget, or what else a stage raises.
    A task that asks no LLM uses the models while it holds `turn`; what its stage leaves to be done
    without them (`WorkerContext.afterwards`) is done after that.
    """
    before = context.halvings
    try:
        if step_named(task.step).pool in LLM_POOLS:
            llm = context.llm_of(task)
            tables = context.tables
            earlier = await earlier_answers(tables, task)
            async with Answers(
                llm, task, tables.store, context.spending, width=width, earlier=earlier
            ) as answers:
                view = context.for_task(task, answers)
                await run_stage(task, view)
        else:
            view = context.for_task(task)
            with turn or nullcontext():
                await run_stage(task, view)
            view.do_what_is_left()
    except (MemoryError, RuntimeError) as error:
        if context.is_out_of_memory(error):
            raise TaskError(
                "not even one row of a pass fits into memory: give the worker more, or shorten "
                "the windows"
            ) from error
        raise
    times = context.halvings - before
    details = []
    if times:
        details.append(f"batches halved {times} time(s) for want of memory")
    if view.num_not_finite:
        details.append(f"{view.num_not_finite} row(s) failed: NaN or infinite numbers")
    return Done("; ".join(details) or None, context.spending.claim(task))


async def run_stage(task: Task, context: WorkerContext) -> None:
    """Run the stage of the task's step on what `context.for_task` gave."""
    stage = importlib.import_module(f"ray_autointerp.stages.{task.step}")
    ended = stage.run(task, context)
    if inspect.isawaitable(ended):
        await ended
