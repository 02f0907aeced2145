"""The pools of a run: who runs which step, how large each is, and whose turn it is on the GPUs."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import ray

from ray_autointerp.cluster.pool import Pool, Size
from ray_autointerp.cluster.workers import LLMWorker, SubjectWorker, environment
from ray_autointerp.config import LLMSection, bounds
from ray_autointerp.plan.estimate import num_requests
from ray_autointerp.plan.flow import step_named
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
        make = _Make(run)
        self._pools: dict[str, Pool] = {
            "cpu": Pool(make.cpu, _fixed(operations.cpu_workers), _one),
            "subject": Pool(make.subject, _subject_size(run), _one),
            "llm": Pool(make.llm, _engines(run.config.llm, operations.llm_workers), self._requests),
        }
        if run.config.judge:
            size = _engines(run.config.judge, operations.judge_workers)
            self._pools["judge"] = Pool(make.judge, size, self._requests)
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


class _Make:
    """Actors of each kind. Ray's own retries are off: see plan/suspects.py."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._options: dict[str, Any] = {
            "num_cpus": 1,
            "max_restarts": 0,
            "max_task_retries": 0,
            "runtime_env": environment(run),
        }

    def cpu(self) -> Any:
        return ray.remote(SubjectWorker).options(**self._options).remote(self._run)

    def subject(self) -> Any:
        gpus = self._run.config.operations.subject_gpus
        made = ray.remote(SubjectWorker).options(
            **self._options, num_gpus=gpus, max_concurrency=_subject_size(self._run).ahead
        )
        return made.remote(self._run)

    def llm(self) -> Any:
        return self._engine("llm", self._run.config.operations.llm_gpus)

    def judge(self) -> Any:
        return self._engine("judge", self._run.config.operations.judge_gpus)

    def _engine(self, name: str, gpus: float) -> Any:
        made = ray.remote(LLMWorker).options(
            **self._options, num_gpus=gpus, max_concurrency=_MOST_TASKS
        )
        return made.remote(self._run, name)


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
