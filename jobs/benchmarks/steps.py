"""Some steps of a config's run, in this process and without an LLM, for what is then measured."""

import asyncio
from collections.abc import Collection

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.execute import execute
from ray_autointerp.execution.tracker import Receipt, RunTracker, now
from ray_autointerp.preflight.check import check
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import open_run


class Said(Silent):
    """An observer that prints each task as it ends."""

    def ended(self, receipt: Receipt) -> None:
        """The task, and how long it took."""
        print(f"{receipt.task.name}: {receipt.outcome} after {receipt.seconds:.1f} s", flush=True)


def run_steps(config: Config, steps: Collection[str]) -> WorkerContext:
    """Run those of the steps that are missing; what is there is kept."""
    checked = check(config)
    run = open_run(checked.config, checked.axes, checked.inputs, checked.micro_batch)
    tracker, context = RunTracker(run, Said()), WorkerContext(run)
    while task := tracker.take():
        if task.step in steps:
            started, clock = now()
            asyncio.run(execute(task, context))
            tracker.done(Receipt(task, started, now()[1] - clock, "done", "local"))
    tracker.close()
    return context
