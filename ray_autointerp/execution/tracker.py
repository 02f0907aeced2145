"""The work of one run as both runners see it: the schedule, fed from the store, with attempts.

Resume, retry and "run it again" are one thing here: list the store, subtract, continue. Receipts
are small; what a task made is on the store. Attempts go to the ledger, which no promise rests on.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa

from ray_autointerp.errors import AutointerpError, TaskError
from ray_autointerp.plan.schedule import Schedule, StepProgress
from ray_autointerp.plan.shards import objects_of
from ray_autointerp.plan.step import Pool
from ray_autointerp.records.layout import ledger_part, ledger_pools_part
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.inheritance import require_inherited
from ray_autointerp.runs.lease import Lease, acquire
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.parquet import write_table

_LEDGER_ROWS = 200
"""Attempts gathered before they are written: few small objects, little to lose."""

_LEDGER_SECONDS = 60.0
"""The longest that attempts are gathered: `status` reads them."""


@dataclass(frozen=True)
class Receipt:
    """One attempt at a task: what the ledger keeps."""

    task: Task
    started: datetime
    seconds: float
    outcome: str
    worker: str
    detail: str | None = None
    usage: Usage = Usage()
    """What the attempt paid for."""


class Observer(Protocol):
    """What watches a run, such as the progress display."""

    def begun(self, run: Run) -> None:
        """The run begins, or goes on; called once, before anything else."""

    def waits(self, reason: str) -> None:
        """The run cannot begin yet, or some of its tasks wait."""

    def started(self, task: Task) -> None:
        """A worker took the task."""

    def ended(self, receipt: Receipt) -> None:
        """The attempt ended, well or not."""

    def progress(self, steps: Iterable[StepProgress]) -> None:
        """How far every step is; called after each change."""


class RunTracker:
    """What is ready, what is done, how often a task was tried; the lease of an unfinished run.

    Raises RunIsDriven where another driver is at work.
    """

    def __init__(self, run: Run, observer: Observer) -> None:
        self.run = run
        self._observer = observer
        self._tables = Tables(run)
        self._schedule = Schedule(run.config, run.axes)
        self._attempts: Counter[Task] = Counter()
        """Of tasks that are not done."""
        self._receipts: list[Receipt] = []
        self._writer = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        self._ledger_parts = 0
        self._pool_parts = 0
        self._written = time.monotonic()
        self._lived: Callable[[], Mapping[str, float]] | None = None
        self._lived_before: Mapping[str, float] = {}
        self._period = now()
        """When that was noted."""
        observer.begun(run)
        self._note(self._tables.objects())
        require_inherited(run, self._schedule)
        self._lease: Lease | None = None
        if not self.finished():
            self._lease = acquire(
                self._tables.store,
                take_over=run.config.operations.take_over,
                waits=observer.waits,
            )

    def require_lease(self) -> None:
        """Raise DriverReplaced if another driver has taken over the run."""
        if self._lease is not None:
            self._lease.require()

    def waits(self, reason: str) -> None:
        """Some tasks wait; the observer says why."""
        self._observer.waits(reason)

    def watch_pools(self, lived: Callable[[], Mapping[str, float]]) -> None:
        """From now on keep how many workers there are: `lived` says for each pool the seconds in
        which its workers had their places, summed over all there ever were.
        """
        self._lived = lived
        self._lived_before, self._period = lived(), now()

    def take(self, *pools: Pool) -> Task | None:
        """The best task of these pools (of any, where none is named) that may start; it does."""
        task = self._schedule.take(*pools)
        if task is not None:
            self.start(task)
        return task

    def num_ready(self, *pools: Pool) -> int:
        """Tasks of these pools that may start."""
        return self._schedule.num_ready(*pools)

    def steps(self) -> list[StepProgress]:
        """How far every step is."""
        return list(self._schedule.progress())

    def finished(self) -> bool:
        """Whether every object of the run exists."""
        return self._schedule.finished()

    def start(self, task: Task) -> None:
        """A worker takes the task, for the first time or as a suspect."""
        self._attempts[task] += 1
        self._observer.started(task)
        self._report()

    def done(self, receipt: Receipt) -> None:
        """The task's objects are on the store."""
        self._keep(receipt)
        self._attempts.pop(receipt.task, None)
        self._note(objects_of(receipt.task, self.run.saes))

    def lost(self, receipt: Receipt) -> None:
        """The attempt came to nothing; when the task is tried again, the caller decides."""
        self._keep(receipt)

    def failed(self, receipt: Receipt, error: BaseException, *, worker_died: bool) -> None:
        """The attempt failed: the task is tried again if that can help, else the run stops.

        Raises the error itself where it is already a sentence for people, else TaskError with
        the task's name.
        """
        self._keep(receipt)
        may_try = self._attempts[receipt.task] < self.run.config.operations.max_attempts
        if may_try and _can_retry(error, worker_died):
            self._schedule.put_back(receipt.task)
            self._report()
            return
        if isinstance(error, AutointerpError) and not isinstance(error, TaskError):
            raise error
        raise TaskError(
            f"The task `{receipt.task.name}` failed "
            f"{self._attempts[receipt.task]} time(s): {_why(error, worker_died)}. "
            f"{what_next(error, worker_died=worker_died)}"
        ) from error

    def close(self) -> None:
        """Write the attempts not yet written, and give the lease back."""
        try:
            self._write()
        finally:
            if self._lease is not None:
                self._lease.release()

    def _write(self) -> None:
        self._write_pools()
        if not self._receipts:
            return
        rows: list[dict[str, Any]] = [
            {
                "step": r.task.step,
                "sae": r.task.sae or "",
                "method": r.task.method or "",
                "shard": r.task.shard,
                "started": r.started,
                "seconds": r.seconds,
                "outcome": r.outcome,
                "worker": r.worker,
                "detail": r.detail,
                **asdict(r.usage),
            }
            for r in self._receipts
        ]
        schema = TABLES["ledger"].schema
        write_table(
            self._tables.store,
            ledger_part(self._writer, self._ledger_parts),
            pa.Table.from_pylist(rows, schema=schema),
            schema,
            {},
        )
        self._ledger_parts += 1
        self._receipts = []

    def _write_pools(self) -> None:
        """The seconds of workers since the last time, so that a driver that dies loses no more."""
        if self._lived is None:
            return
        (started, before), (period, lived) = self._period, (now(), self._lived())
        rows = [
            {
                "pool": pool,
                "started": started,
                "seconds": period[1] - before,
                "worker_seconds": seconds - self._lived_before.get(pool, 0.0),
            }
            for pool, seconds in sorted(lived.items())
        ]
        schema = TABLES["ledger_pools"].schema
        name = ledger_pools_part(self._writer, self._pool_parts)
        table = pa.Table.from_pylist(rows, schema=schema)
        write_table(self._tables.store, name, table, schema, {})
        self._pool_parts += 1
        self._lived_before, self._period = lived, period

    def _keep(self, receipt: Receipt) -> None:
        self._receipts.append(receipt)
        self._observer.ended(receipt)
        clock = time.monotonic()
        if len(self._receipts) >= _LEDGER_ROWS or clock - self._written > _LEDGER_SECONDS:
            self._write()
            self._written = clock

    def _note(self, names: Iterable[str]) -> None:
        self._schedule.note_objects(names)
        for sae in self._schedule.unselected:
            self._schedule.note_selection(sae, self._tables.selected(sae))
        self._report()

    def _report(self) -> None:
        self._observer.progress(self._schedule.progress())


def what_next(error: BaseException, *, worker_died: bool) -> str:
    """A sentence after an error that stopped the run: whether the same command can go on."""
    if _can_retry(error, worker_died):
        return "What is finished is kept; the same command continues from there."
    if isinstance(error, AutointerpError):
        return "What is finished is kept, but the same command fails here again: mend this first."
    return (
        "What is finished is kept, but this error was not expected, and the same command is likely "
        "to fail here again: find its cause first."
    )


def _can_retry(error: BaseException, worker_died: bool) -> bool:
    return worker_died or (isinstance(error, AutointerpError) and error.can_retry)


def _why(error: BaseException, worker_died: bool) -> str:
    if worker_died:
        return "the process that worked on it died, most often for want of memory (see Ray's logs)"
    return str(error).rstrip(".") or type(error).__name__


def now() -> tuple[datetime, float]:
    """The wall clock for the ledger and the monotonic one for durations."""
    return datetime.now(UTC), time.monotonic()
