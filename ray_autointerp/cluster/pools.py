"""The pools of a run: who runs which step, how large each is, and whose turn it is on the GPUs.

Sizes are decided in plan/pool_sizes.py; here they are carried out, and places that Ray does not
find are given up.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import ray

from ray_autointerp.cluster.nodes import alive_nodes, nodes_to_come
from ray_autointerp.cluster.pool import CLOSE_S, Pool, Room
from ray_autointerp.cluster.workers import LLMWorker, SubjectWorker, environment
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.plan.estimate import num_requests
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.placement import Node, Packing, bounds_of, unplaced, wants
from ray_autointerp.plan.pool_sizes import UNBOUNDED, Demand, Durations, gain, sizes
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.plan.step import Pool as StepPool
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run

_AHEAD = 2
"""Rooms of work a worker is given: one that it works on, one that waits."""

_LEAST_S = 0.001
"""Of a task: one whose answers were all known before is still something to do."""

_DECIDE_S = 1.0
"""Sizes are decided anew no more often."""

_IDLE_S = 60.0
"""A member beyond what its pool should have that holds nothing for so long is let go, whoever wants
its place."""

_PENDING_S = 300.0
"""A member that has waited so long for a place is withdrawn."""

_AGAIN_S = 600.0
"""So long after one was withdrawn no other is made."""

_UNPLACED_S = 30.0
"""So long without a place for any of its members, and a pool is said to wait."""

_MOST_TASKS = 1000
"""Method calls one engine actor may have under way; its room is what bounds them."""


class Pools:
    """cpu, subject, llm, and judge where the config names another model for it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._wants = wants(run.config)
        self._pools = {name: self._pool(name) for name in self._wants}
        self._durations = Durations()
        self._turn = "subject" if run.config.operations.take_turns else None
        self._decided = 0.0
        self._goal: dict[str, int] = {}
        self._withheld: dict[str, tuple[int, float]] = {}
        """By pool, a size beyond which Ray found no place, and when that was."""
        self._unplaced: set[str] = set()
        """Pools that were said to wait for a place."""
        self.resize({}, ())

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
        self._decided = 0.0

    def may_take(self, name: str) -> bool:
        """Whether the pool has its turn and room."""
        return self._may_work(name) and self._pools[name].has_room()

    def measure(self, receipt: Receipt) -> None:
        """A task was done: what it took of its worker is what others of its step will take."""
        step = step_named(receipt.task.step)
        asks = step.pool in LLM_POOLS
        seconds = receipt.usage.engine_seconds if asks else receipt.seconds
        self._durations.note(step.name, max(seconds, _LEAST_S))

    def resize(self, waiting: Mapping[str, int], steps: Iterable[StepProgress]) -> None:
        """Give each pool the members that let the run end first.

        `waiting` are the ready tasks by pool that no worker has taken, `steps` the whole work.
        """
        working = {name: pool for name, pool in self._pools.items() if self._may_work(name)}
        is_short = any(pool.size < self._goal.get(name, 1) for name, pool in working.items())
        if not is_short and time.monotonic() - self._decided < _DECIDE_S:
            return
        self._decided = time.monotonic()
        self._withdraw(working)
        served = {name: served for name, served in self.serve() if name in working}
        work, is_measured = self._durations.work_left(served, steps)
        demands = {name: self._demand(name, work[name], waiting) for name in working}
        nodes = self._nodes()
        self._goal = sizes(nodes, demands)
        self._let_go(working, demands, is_measured)
        self._grow(working, nodes)

    def _grow(self, working: Mapping[str, Pool], nodes: Iterable[Node]) -> None:
        """Start members where those that are there, or still leaving, have left a place."""
        packing = Packing(nodes)
        for name, pool in working.items():
            for _ in range(pool.size + pool.num_leaving):
                packing.add(self._wants[name])
        for name, pool in working.items():
            while pool.size < self._goal[name] and packing.add(self._wants[name]):
                pool.grow_to(pool.size + 1)
            pool.grow_to(1)  # waits for its place, if there is none

    def _let_go(
        self, working: Mapping[str, Pool], demands: Mapping[str, Demand], is_measured: bool
    ) -> None:
        """Take members from pools that have more than they should.

        Who holds nothing goes once it has done so for as long as a start takes, since it may be
        wanted again; who is busy only where the others gain more than that.
        """
        now = {name: pool.size for name, pool in working.items()}
        growing = [name for name in working if now[name] < self._goal[name]]
        # Of those that shrink too: what is given away must be started again if it is wanted.
        moved = [name for name in working if now[name] != self._goal[name]]
        start_s = max((working[name].start_s for name in moved), default=0.0)
        pays = is_measured and bool(growing) and gain(demands, now, self._goal) > start_s
        for name, pool in working.items():
            idle_s = min(_IDLE_S, pool.start_s) if growing and demands[name].work else _IDLE_S
            if growing and not demands[name].work:
                idle_s = 0.0
            while pool.size > self._goal[name] and (
                pool.withdraw(pending_s=0.0) or pool.let_idle_go(idle_s)
            ):
                pass
            while pays and pool.size > self._goal[name]:
                pool.let_one_go()

    def _withdraw(self, working: Mapping[str, Pool]) -> None:
        """Members for which Ray finds no place are made again when there is more of the cluster,
        or later: what fits by numbers may not fit by where others run.
        """
        for name, pool in working.items():
            while pool.size > 1 and pool.withdraw(pending_s=_PENDING_S):
                self._withheld[name] = pool.size, time.monotonic()

    def _demand(self, name: str, work: float, waiting: Mapping[str, int]) -> Demand:
        least, most = self._bounds(name)
        most = UNBOUNDED if most is None else most
        size, when = self._withheld.get(name, (UNBOUNDED, 0.0))
        if time.monotonic() - when < _AGAIN_S:
            least, most = min(least, size), min(most, size)
        usable = self._pools[name].usable(waiting.get(name, 0))
        return Demand(self._wants[name], least, most, work, usable)

    def _bounds(self, name: str) -> tuple[int, int | None]:
        return bounds_of(self._run.config, name)

    def _nodes(self) -> list[Node]:
        """Those that are there and those that the autoscaler may start. Where it does not say
        which, it is asked for what the config bounds.
        """
        alive = alive_nodes()
        to_come = nodes_to_come(alive)
        if to_come is None:
            to_come = [
                Node(want.cpus, want.gpus)
                for name, want in self._wants.items()
                for _ in range(self._bounds(name)[1] or 0)
            ]
        return [*alive, *to_come]

    def newly_unplaced(self, waiting: Mapping[str, int]) -> Iterator[str]:
        """A sentence for each pool that has tasks and, for a while, no worker with a place: once,
        until it has one again. `waiting` as `resize` has it.
        """
        for name, pool in self._pools.items():
            if pool.unplaced_s() < _UNPLACED_S or not waiting.get(name):
                self._unplaced.discard(name)
            elif name not in self._unplaced:
                self._unplaced.add(name)
                yield unplaced(name, self._wants[name], alive_nodes())

    def lived_s(self) -> dict[str, float]:
        """By pool, the seconds in which workers had their places, of all there ever were."""
        return {name: pool.lived_s() for name, pool in self._pools.items()}

    def close(self, wait_s: float = CLOSE_S) -> None:
        """End every worker. Engines have so long to close, all together; of the other workers
        nothing would be left, and they are killed.
        """
        until = time.monotonic() + wait_s
        for name, pool in self._pools.items():
            pool.close(max(0.0, until - time.monotonic()) if name in LLM_POOLS else 0.0)

    def _name(self, task: Task) -> str:
        name = step_named(task.step).pool
        return "llm" if name == "judge" and "judge" not in self._pools else name

    def _may_work(self, name: str) -> bool:
        if self._turn is None or name == "cpu":
            return True
        return (name in LLM_POOLS) == (self._turn == "llm")

    def _pool(self, name: str) -> Pool:
        requests_of = self._requests if name in LLM_POOLS else _one
        return Pool(partial(_make, self._run, name), _room(self._run, name), requests_of)

    def _requests(self, task: Task) -> int:
        return num_requests(task, self._run.config, self._run.axes.selected_per_shard)


def actor_options(run: Run, name: str) -> dict[str, Any]:
    """What Ray needs to know of a pool's workers. Its own retries are off: see plan/suspects.py."""
    want = wants(run.config)[name]
    options: dict[str, Any] = {
        "num_cpus": want.cpus,
        "num_gpus": want.gpus,
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": environment(run),
    }
    if want.labels:
        options["label_selector"] = dict(want.labels)
    if name in LLM_POOLS:
        options["max_concurrency"] = _MOST_TASKS
    elif name == "subject":
        options["max_concurrency"] = _room(run, name).ahead
    return options


def _make(run: Run, name: str) -> Any:
    """A worker of the pool."""
    if name in LLM_POOLS:
        return ray.remote(LLMWorker).options(**actor_options(run, name)).remote(run, name)
    return ray.remote(SubjectWorker).options(**actor_options(run, name)).remote(run)


def _room(run: Run, name: str) -> Room:
    if name in LLM_POOLS:
        section = run.config.llm if name == "llm" else run.config.judging
        return Room(max(1, len(section.endpoints)) * section.requests_in_flight, ahead=_AHEAD)
    # With a GPU a worker is given a second task, which begins while the first one writes.
    gpus = run.config.operations.subject_gpus if name == "subject" else 0
    return Room(ahead=_AHEAD if gpus else 1)


def _one(_: Task) -> int:
    return 1
