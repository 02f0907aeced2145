"""The Ray runner: the same schedule as run_local, executed by pools of actors.

The driver holds a bounded amount of work in flight per actor, waits for receipts, and replaces
actors that die. What a dead LLM worker held goes to a probe, alone, until the prompt that kills is
found (plan/suspects.py); other tasks are tried again, a bounded number of times, then the run stops
with the task's name. Ray's own retries are off: they would repeat what kills a worker without end.
"""

import logging
import os
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from ray_autointerp.cluster.ceiling import Ceiling
from ray_autointerp.cluster.metrics import Metrics
from ray_autointerp.cluster.nodes import connect, gpus_here, own_sigterm, require_placement
from ray_autointerp.cluster.pools import Pools
from ray_autointerp.errors import EngineDied, OverBudget, TaskError, UserError
from ray_autointerp.execution.observers import Observers
from ray_autointerp.execution.tracker import Observer, Receipt, RunTracker, now, what_next
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.placement import local_cpus
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.plan.suspects import Suspects
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run

_OBJECT_STORE_BYTES = 200 * 2**20
"""Only tasks and receipts pass through Ray's object store on a local start."""

_LOOK_AGAIN_S = 1.0
"""Pools grow and shrink, and the ceiling is looked at, at least this often."""

_STOP_S = 2.0
"""How long engines have to close when the run is stopped: a job that is stopped is killed 3 s after
SIGTERM, and the lease must be given back before. An engine's reaper ends it in any case."""

_DETAIL_CHARACTERS = 2000
"""Of an error kept in the ledger; the whole of it is in Ray's logs."""


def run_ray(run: Run, observer: Observer) -> None:
    """Execute every missing task of the run on Ray. Raises what RunTracker.failed raises.

    Uses the cluster that is already connected or that RAY_ADDRESS names, else starts a local one
    and stops it again.
    """
    tracker = RunTracker(run, Observers(observer, Metrics()))
    if tracker.finished():
        return
    started_here = False
    try:
        started_here = _connect(run)
        require_placement(run.config)
        _Drive(run, tracker).work()
    finally:
        tracker.close()
        if started_here:
            ray.shutdown()


def _connect(run: Run) -> bool:
    if ray.is_initialized():
        return False
    if os.environ.get("RAY_ADDRESS"):
        connect()
        return True
    with own_sigterm():
        ray.init(
            address="local",  # a Ray that `ray start` has left on this machine is not ours to join
            num_cpus=local_cpus(run.config, gpus_here()),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            logging_level=logging.WARNING,
            log_to_driver=False,
        )
    return True


class _Drive:
    """The loop: give ready tasks to pools with room, wait for answers, settle them."""

    def __init__(self, run: Run, tracker: RunTracker) -> None:
        self._run = run
        self._tracker = tracker
        self._pools = Pools(run)
        tracker.watch_pools(self._pools.lived_s)
        self._suspects = Suspects()
        self._ceiling = Ceiling(run)
        self._in_flight: dict[Any, tuple[Task, Any]] = {}
        self._starts_failed = 0
        self._over_budget: OverBudget | None = None

    def work(self) -> None:
        """Until every object of the run exists."""
        try:
            while not self._tracker.finished():
                self._tracker.require_lease()
                waiting = self._hand_out()
                self._pools.take_turns(waiting)
                self._pools.resize(waiting, self._tracker.steps())
                for sentence in self._pools.newly_unplaced(waiting):
                    self._tracker.waits(sentence)
                self._ceiling.look(e for pool in self._pools.asking() for e in pool.actors())
                self._wait()
        except (KeyboardInterrupt, SystemExit):
            self._pools.close(_STOP_S)
            raise
        finally:
            self._pools.close()

    def _hand_out(self) -> dict[str, int]:
        """Start what can be started; by pool, how many tasks wait for room."""
        if self._over_budget is not None:
            if not any(_asks(task) for task, _ in self._in_flight.values()):
                raise self._over_budget  # what was in flight is answered, and kept
            return {}
        self._try_suspects()
        waiting = {}
        for name, steps in self._pools.serve():
            while self._pools.may_take(name) and (task := self._tracker.take(*steps)):
                self._begin(task, self._pools.of(task).submit(task))
            waiting[name] = self._tracker.num_ready(*steps)
        return waiting

    def _try_suspects(self) -> None:
        if not self._suspects:
            for pool in self._pools.asking():
                pool.release_probe()
            return
        for _ in range(self._suspects.num_waiting):
            found = self._suspects.next()
            assert found is not None
            task, width = found
            pool = self._pools.of(task)
            if pool.probe_is_free():
                self._tracker.start(task)
                self._begin(task, pool.submit_to_probe(task, width))
            else:
                self._suspects.put_back(task)

    def _begin(self, task: Task, reference: Any) -> None:
        self._in_flight[reference] = (task, now())

    def _wait(self) -> None:
        starting = [reference for pool in self._pools.all() for reference in pool.starting]
        waited_for = [*self._in_flight, *starting]
        assert waited_for, "nothing is ready and nothing runs: the flow has a hole"
        answered, _ = ray.wait(waited_for, num_returns=1, timeout=_LOOK_AGAIN_S)
        for reference in answered:
            if reference in self._in_flight:
                self._settle(reference)
            else:
                self._note_start(reference)

    def _note_start(self, reference: Any) -> None:
        """A worker has started, or died of it: that is tried again a few times in a row."""
        pool = next((p for p in self._pools.all() if p.is_starting(reference)), None)
        if pool is None:
            return
        try:
            ray.get(reference)
        except RayError as error:
            cause = getattr(error, "cause", None)
            self._starts_failed += 1
            if isinstance(cause, UserError | OverBudget):
                raise cause from error
            if self._starts_failed >= self._run.config.operations.max_attempts:
                why = str(cause or error).strip().splitlines()[0]
                failed = isinstance(error, RayActorError) and error.actor_init_failed
                died = not failed and not isinstance(error, RayTaskError)
                raise TaskError(
                    f"A worker died {self._starts_failed} times in a row while it started ({why}). "
                    f"{what_next(cause or error, worker_died=died)}"
                ) from error
            pool.start_failed(reference)
        else:
            self._starts_failed = 0
            pool.started(reference)

    def _settle(self, reference: Any) -> None:
        task, asked = self._in_flight.pop(reference)
        pool = self._pools.of(task)
        try:
            receipt: Receipt = ray.get(reference)
        except RayTaskError as error:
            pool.settle(reference)
            cause = error.cause if isinstance(error.cause, Exception) else TaskError(str(error))
            if isinstance(cause, EngineDied):
                self._died(task, _lost(task, asked, "engine died", cause), cause)
            elif isinstance(cause, OverBudget):
                self._over_budget = cause
                self._tracker.lost(_lost(task, asked, "over budget", cause))
            else:
                self._suspects.clear(task)
                receipt = _lost(task, asked, "failed", cause)
                self._tracker.failed(receipt, cause, worker_died=False)
        except RayError as error:  # its process or node died, or Ray killed it for want of memory
            pool.died(reference)
            pool.settle(reference)
            self._died(task, _lost(task, asked, "worker died", error), error)
        else:
            pool.settle(reference)
            self._suspects.clear(task)
            self._pools.measure(receipt)
            self._tracker.done(receipt)

    def _died(self, task: Task, receipt: Receipt, error: Exception) -> None:
        """What asks an LLM becomes a suspect; other tasks are tried a few times."""
        if not _asks(task):
            self._tracker.failed(receipt, error, worker_died=True)
            return
        self._suspects.accuse([task])
        if self._suspects.num_rounds(task) > self._run.config.operations.max_quarantined:
            self._tracker.failed(receipt, error, worker_died=True)  # too often: this raises
        self._tracker.lost(receipt)


def _asks(task: Task) -> bool:
    """Whether the task asks a language model."""
    return step_named(task.step).pool in LLM_POOLS


def _lost(task: Task, asked: Any, outcome: str, error: BaseException) -> Receipt:
    started, clock = asked
    detail = f"{type(error).__name__}: {error}"[:_DETAIL_CHARACTERS]
    return Receipt(task, started, now()[1] - clock, outcome, "unknown", detail)
