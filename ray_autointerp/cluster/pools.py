"""The pools of a run: who runs which step, how large each is, and whose turn it is on the GPUs."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

import ray

from ray_autointerp.cluster.pool import Pool, Size
from ray_autointerp.cluster.workers import LLMWorker, SubjectWorker, environment
from ray_autointerp.config import LLMSection, bounds
from ray_autointerp.plan.estimate import num_requests
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.placement import wants
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.plan.step import Pool as StepPool
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run

_AHEAD = 2
"""Rooms of work a worker is given: one that it works on, one that waits."""

_MOST_TASKS = 1000
"""Method calls one engine actor may have under way; its room is what bounds them."""


class Pools:
    """cpu, subject, llm, and judge where the config names another model for it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        operations = run.config.operations
        sizes = {
            "cpu": _fixed(operations.cpu_workers),
            "subject": _subject_size(run),
            "llm": _engines(run.config.llm, operations.llm_workers),
        }
        if run.config.judge:
            sizes["judge"] = _engines(run.config.judge, operations.judge_workers)
        self._pools: dict[str, Pool] = {
            name: Pool(
                partial(_make, run, name), size, self._requests if name in LLM_POOLS else _one
            )
            for name, size in sizes.items()
        }
        self._turn = "subject" if operations.take_turns else None
        for name, pool in self._pools.items():
            if self._may_work(name):
                pool.open()

    def of(self, task: Task) -> Pool:
        """The pool that runs the task."""
        return self._pools[self._name(task)]

    def all(self) -> Iterator[Pool]:
        """Every pool."""
        yield from self._pools.values()

    def asking(self) -> Iterator[Pool]:
        """The pools that ask a language model."""
        for name, pool in self._pools.items():
            if name in LLM_POOLS:
                yield pool

    def serve(self) -> Iterator[tuple[str, tuple[StepPool, ...]]]:
        """Each pool's name, and the step pools whose tasks it runs."""
        for name in self._pools:
            judges = name == "llm" and "judge" not in self._pools
            yield name, LLM_POOLS if judges else (cast(StepPool, name),)

    def take_turns(self, waiting: Mapping[str, int]) -> None:
        """Hand the GPUs over, if they are shared, once their holder has nothing left to do.

        `waiting` are the ready tasks by pool that no worker has taken.
        """
        if self._turn is None:
            return
        wanted = {name for name, number in waiting.items() if number}
        mine = {name for name in self._pools if name != "cpu" and self._may_work(name)}
        others = self._pools.keys() - mine - {"cpu"}
        is_idle = all(self._pools[name].is_idle for name in mine)
        if not is_idle or wanted & mine or not wanted & others:
            return
        for name in mine:
            self._pools[name].close()
        self._turn = "llm" if self._turn == "subject" else "subject"
        for name in others:
            self._pools[name].open()

    def may_take(self, name: str) -> bool:
        """Whether the pool has its turn and room."""
        return self._may_work(name) and self._pools[name].has_room()

    def resize(self, waiting: Mapping[str, int]) -> None:
        """Let pools between two bounds grow and shrink with the tasks that wait for room."""
        for name, pool in self._pools.items():
            if self._may_work(name):
                pool.resize(waiting.get(name, 0))

    def close(self) -> None:
        """End every worker."""
        for pool in self._pools.values():
            pool.close()

    def _name(self, task: Task) -> str:
        name = step_named(task.step).pool
        return "llm" if name == "judge" and "judge" not in self._pools else name

    def _may_work(self, name: str) -> bool:
        if self._turn is None or name == "cpu":
            return True
        return (name in LLM_POOLS) == (self._turn == "llm")

    def _requests(self, task: Task) -> int:
        return num_requests(task, self._run.config, self._run.axes.selected_per_shard)


def options(run: Run, name: str) -> dict[str, Any]:
    """What Ray is told of a pool's workers. Its own retries are off: see plan/suspects.py."""
    want = wants(run.config)[name]
    told: dict[str, Any] = {
        "num_cpus": want.cpus,
        "num_gpus": want.gpus,
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": environment(run),
    }
    if want.labels:
        told["label_selector"] = dict(want.labels)
    if name in LLM_POOLS:
        told["max_concurrency"] = _MOST_TASKS
    elif name == "subject":
        told["max_concurrency"] = _subject_size(run).ahead
    return told


def _make(run: Run, name: str) -> Any:
    """A worker of the pool."""
    if name in LLM_POOLS:
        return ray.remote(LLMWorker).options(**options(run, name)).remote(run, name)
    return ray.remote(SubjectWorker).options(**options(run, name)).remote(run)


def _fixed(workers: int) -> Size:
    return Size(workers, workers)


def _subject_size(run: Run) -> Size:
    """With a GPU a worker is given a second task, which begins while the first one writes."""
    operations = run.config.operations
    workers = operations.subject_workers
    return Size(workers, workers, ahead=_AHEAD if operations.subject_gpus else 1)


def _engines(section: LLMSection, workers: int | tuple[int, int]) -> Size:
    least, most = bounds(workers)
    places = max(1, len(section.endpoints))
    return Size(least, most, room=places * section.requests_in_flight, ahead=_AHEAD)


def _one(_: Task) -> int:
    return 1
