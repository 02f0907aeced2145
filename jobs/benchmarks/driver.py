"""The driver of a run on Ray, with real actors whose tasks sleep instead of working.

    python jobs/benchmarks/driver.py [--workers 1 2 4 8 16] [--seconds 1] [--rounds 5]
    python jobs/benchmarks/driver.py --tasks 500000

The first form gives each number of workers 20 tasks of `--seconds` a worker, and prints a JSON line
for each: `efficiency` (seconds of all tasks over workers times wall time, from the first task's
start to the last one's end) and `driver_ms`, processor time of the driver's process a task. The
second drives a whole run of at least so many empty tasks, every step and pool, to its end: tasks
per second, and what the driver's process holds alone in MB after each tenth of the tasks. No task
writes anything but the selections, which the driver reads.
"""

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import psutil
import ray
from race import machine, median_of
from rich.console import Console
from schedule import config, sizes

from ray_autointerp.cluster import pools
from ray_autointerp.cluster.progress import Progress
from ray_autointerp.cluster.run_ray import run_ray
from ray_autointerp.config import Config
from ray_autointerp.execution.observers import Observers
from ray_autointerp.execution.tracker import Receipt, now
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.shards import Selected, objects_of, tasks_of
from ray_autointerp.plan.step import Pool
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

ROUNDS_OF_TASKS = 20
"""Tasks of each worker."""

STEP = "neighbours"
"""Waits for nothing, and is cut over latents: one latent makes one task."""

WIDTH = 16_384
"""Latents of an SAE in a whole run."""


def main() -> None:
    """Efficiency by workers, or one long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    ray.init(
        address="local",
        num_cpus=max(asked.workers) + 2,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        log_to_driver=False,
    )
    try:
        if asked.tasks:
            print(json.dumps(whole_run(asked.tasks)), flush=True)
            return
        for workers in asked.workers:
            rows = [one_step(workers, asked.seconds) for _ in range(asked.rounds)]
            row: dict[str, Any] = {"workers": workers, "task_s": asked.seconds}
            row |= {name: round(median_of(rows, name), 4) for name in rows[0]}
            efficiencies = sorted(round(one["efficiency"], 4) for one in rows)
            row["efficiency_range"] = [efficiencies[0], efficiencies[-1]]
            print(json.dumps(row | {"machine": machine()}), flush=True)
    finally:
        ray.shutdown()


def one_step(workers: int, seconds: float) -> dict[str, float]:
    """A run of which nothing is missing but the tasks of one step."""
    with tempfile.TemporaryDirectory() as folder:
        num_tasks = workers * ROUNDS_OF_TASKS
        run = run_in(folder, config(1), num_tasks, 1, workers)
        write_all_but(STEP, run)
        watch = Watch(num_tasks)
        drive(run, watch, seconds, together=workers + 2)
    return {
        "efficiency": num_tasks * seconds / (workers * watch.wall_s),
        "driver_ms": 1000 * watch.processor_s / num_tasks,
    }


def whole_run(at_least: int) -> dict[str, object]:
    """Every step of many SAEs, all latents chosen."""
    with tempfile.TemporaryDirectory() as folder:
        num_saes = -(-at_least // num_tasks_of(whole("", 1)))
        run = whole(folder, num_saes)
        watch = Watch(num_tasks_of(run), is_told=True)
        drive(run, watch, 0.0, together=0)
    return {
        "num_tasks": watch.num_ended,
        "tasks_per_s": round(watch.num_ended / watch.wall_s, 1),
        "driver_ms": round(1000 * watch.processor_s / watch.num_ended, 2),
        "mb_by_tenth": watch.megabytes,
        "machine": machine(),
    }


def whole(folder: str, num_saes: int) -> Run:
    """A run of so many SAEs."""
    made = config(num_saes)
    return run_in(folder, made, WIDTH, made.operations.latents_per_shard, 4)


def num_tasks_of(run: Run) -> int:
    """Tasks of every step."""
    select = run.config.select
    selected = dict.fromkeys(run.saes, Selected(WIDTH, select.panel, select.controls))
    return sum(len(tasks_of(step, run.config, run.axes, selected) or ()) for step in FLOW)


def run_in(folder: str, made: Config, width: int, per_shard: int, workers: int) -> Run:
    """A run of SAEs of so many latents, planned and not begun."""
    changed = {"subject_workers": workers, "latents_per_shard": per_shard}
    operations = made.operations.model_copy(update=changed)
    made = made.model_copy(update={"operations": operations})
    return Run(made, sizes(made, [sae.id for sae in made.sae], width), folder)


def write_all_but(left: str, run: Run) -> None:
    """Empty objects of all other steps, and selections that choose nothing."""
    nothing = dict.fromkeys(run.saes, Selected(0, 0, 0))
    for step in FLOW:
        for task in tasks_of(step, run.config, run.axes, nothing) or ():
            if step.name == "select":
                write_selection(run, task, chosen=False)
            elif step.name != left:
                for name in objects_of(task, run.saes):
                    path = Path(run.uri) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()


def write_selection(run: Run, task: Task, *, chosen: bool) -> None:
    """All latents of the SAE, or none of them."""
    assert task.sae is not None
    select, latents = run.config.select, run.axes.latents[task.sae]
    rows = [
        {
            "latent": latent,
            "chosen": chosen,
            "reason": "rule",
            "panel": chosen and latent < select.panel,
            "sample": False,
            "control": chosen and latent < select.controls,
            "order": latent,
        }
        for latent in range(latents.start, latents.stop)
    ]
    Tables(run).write(task, "selection", rows)


def drive(run: Run, watch: "Watch", seconds: float, *, together: int) -> None:
    """The real runner, with workers that sleep `seconds` a task; `together` of them start at once,
    however long the processes take to begin.
    """
    gate = Gate(Path(run.uri) / f"gate-{uuid4().hex}", together)
    workers = {"SubjectWorker": sleeper(gate, seconds), "LLMWorker": async_sleeper(gate, seconds)}
    with open(os.devnull, "w") as nowhere, patch.multiple(pools, **workers):
        run_ray(run, Observers(Progress(Console(file=nowhere)), watch))


class Gate:
    """Opens once enough processes have come to it."""

    def __init__(self, folder: Path, enough: int) -> None:
        self._folder, self._enough = folder, enough
        folder.mkdir()

    def come(self) -> None:
        """Note that this process is here."""
        (self._folder / str(os.getpid())).touch()

    @property
    def is_open(self) -> bool:
        """Whether all are here."""
        return len(list(self._folder.iterdir())) >= self._enough


def sleeper(gate: Gate, seconds: float) -> type:
    """The class of a worker that takes one task at a time."""

    class Sleeper:
        def __init__(self, run: Run) -> None:
            self._run = run

        def warm(self) -> None:
            gate.come()
            while not gate.is_open:
                time.sleep(0.01)

        def work(self, task: Task, width: object) -> Receipt:  # noqa: ARG002
            began = now()
            if task.step == "select":
                write_selection(self._run, task, chosen=True)
            time.sleep(seconds)
            return receipt(task, began)

        def close(self) -> None:
            pass

    return Sleeper


def async_sleeper(gate: Gate, seconds: float) -> type:
    """The class of a worker that takes many tasks at a time."""

    class AsyncSleeper:
        def __init__(self, run: Run, pool: str) -> None:
            pass

        async def warm(self) -> None:
            gate.come()
            while not gate.is_open:
                await asyncio.sleep(0.01)

        async def work(self, task: Task, width: object) -> Receipt:  # noqa: ARG002
            began = now()
            await asyncio.sleep(seconds)
            return receipt(task, began)

        async def paid(self) -> Mapping[Pool, Usage]:
            return {}

        async def close(self) -> None:
            pass

    return AsyncSleeper


def receipt(task: Task, began: Any) -> Receipt:
    """As a worker makes it."""
    started, clock = began
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return Receipt(task, started, now()[1] - clock, "done", worker)


class Watch:
    """An Observer: the driver's clocks between the first start and the last end, its memory."""

    def __init__(self, num_tasks: int, *, is_told: bool = False) -> None:
        self._is_told = is_told
        self._tenth = max(1, num_tasks // 10)
        self._process = psutil.Process()
        self._first: tuple[float, float] | None = None
        self.num_ended = 0
        self.wall_s = self.processor_s = 0.0
        self.megabytes: list[int] = []

    def begun(self, run: Run) -> None:
        """Nothing."""

    def waits(self, reason: str) -> None:
        """Nothing."""

    def started(self, task: Task) -> None:  # noqa: ARG002
        """The first start counts."""
        if self._first is None:
            self._first = time.perf_counter(), time.process_time()
            self._look()

    def ended(self, receipt: Receipt) -> None:
        """The last end counts."""
        assert self._first is not None and receipt.outcome == "done", receipt
        self.num_ended += 1
        self.wall_s = time.perf_counter() - self._first[0]
        self.processor_s = time.process_time() - self._first[1]
        if self.num_ended % self._tenth == 0:
            self._look()

    def progress(self, steps: object) -> None:
        """Nothing."""

    def _look(self) -> None:
        memory = self._process.memory_info()
        self.megabytes.append((memory.rss - memory.shared) // 2**20)
        print(
            f"{self.num_ended} tasks, {self.wall_s:.0f} s, {self.megabytes[-1]} MB", file=sys.stderr
        )


if __name__ == "__main__":
    main()
