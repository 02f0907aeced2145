"""An LLM for one task that keeps every answer and never asks the same request twice.

Answers are appended under their task in small segments, read back before anything is asked. What
a fault can cost is a segment being written, one being gathered, and what was in flight. Footers
hold what a segment's answers cost, so that a run's spending is summed from them alone.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from ray_autointerp.errors import AutointerpError, TaskError
from ray_autointerp.llm.client import Answer, LLMClient, Request
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.step import Pool
from ray_autointerp.records.layout import ANSWERS, answers_folder
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.quarantine import Quarantine
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.spending import Spending
from ray_autointerp.storage.parquet import read_metadata, read_table, write_table
from ray_autointerp.storage.store import Store, open_store

SEGMENT_ANSWERS = 256
"""Answers gathered before they are written."""

SEGMENT_SECONDS = 10.0
"""The longest an answer waits to be written."""

_READERS = 8


class Answers:
    """The LLM of one task; use it as `async with`. Equal requests are one question.

    `width`: at most so many requests at once, in the order asked, written whenever so many are
    unwritten; None is all at once. At 1 every request is marked before it is asked, and when the
    task begins again, one that engines died of twice is put into quarantine and never asked.
    `earlier`: answers of another run, by key; those that are asked for are kept as this task's, at
    no cost.
    """

    def __init__(
        self,
        llm: LLMClient,
        task: Task,
        store: Store,
        spending: Spending,
        *,
        width: int | None = None,
        earlier: Mapping[str, Answer] | None = None,
    ) -> None:
        self._llm, self._task, self._store, self._spending = llm, task, store, spending
        self._width = width
        self._earlier = dict(earlier or {})
        self._turn = asyncio.Semaphore(width) if width else contextlib.nullcontext()
        self._known: dict[str, Answer] = {}
        self._quarantine = Quarantine(store, task)
        self._questions: dict[str, asyncio.Task[Answer]] = {}
        self._waiting: set[str] = set()
        self._in_flight: set[str] = set()
        self._unwritten: list[tuple[str, Answer, Usage]] = []
        self._timer: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._segment = 0
        self._has_failed = self._is_closed = False

    async def start(self) -> None:
        """Read what is remembered of the task and what is in quarantine. Raises StoreError."""
        self._known, self._segment = await asyncio.to_thread(remembered, self._store, self._task)
        await asyncio.to_thread(self._quarantine.read, self._known)

    async def ask(self, request: Request) -> Answer:
        """The answer: the one that is remembered, else a new one that will be.

        Raises what the LLM raises, and OverBudget where the run's ceiling is reached.
        """
        if request.key in self._quarantine:
            reason = await asyncio.to_thread(self._quarantine.reason, request.key)
            return Answer(reason, "quarantined")
        if (answer := self._earlier.pop(request.key, None)) and request.key not in self._known:
            self._known[request.key] = answer
            await self._keep(request.key, answer, Usage())
        if request.key in self._known:
            return self._known[request.key]
        if request.key not in self._questions:
            if self._is_closed:
                raise TaskError("the task has ended")
            self._questions[request.key] = asyncio.create_task(self._question(request))
        return await asyncio.shield(self._questions[request.key])

    async def close(self) -> None:
        """Wait for what is in flight, leave what waits unasked, and write what is unwritten."""
        self._is_closed = True
        self._cancel(self._waiting)
        await asyncio.gather(*self._questions.values(), return_exceptions=True)
        if self._timer is not None:  # it sleeps; one that writes is no longer kept here
            self._timer.cancel()
        await self._write()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
            return
        if not isinstance(error, Exception):  # cancelled: what is in flight is not waited for
            self._cancel(self._in_flight)
        with contextlib.suppress(AutointerpError):  # the first error says more than the second
            await self.close()

    async def _question(self, request: Request) -> Answer:
        self._waiting.add(request.key)
        try:
            await asyncio.shield(self._engine())  # not on its clock, nor after a mark
            async with self._turn, self._spending.room(self._task):
                if not self._has_failed:
                    self._waiting.discard(request.key)
                    self._in_flight.add(request.key)
                    answer, usage = await self._answer(request)
                    self._in_flight.discard(request.key)
                    # In the room: a store that is slower than the engine must hold it back.
                    await self._keep(request.key, answer, usage)
                    return answer
            # The task ends with another question's error, and close() with this waiting: to ask
            # on would start an engine anew, or spend over the ceiling.
            unasked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            return await unasked
        except Exception:
            self._has_failed = True
            raise
        finally:
            self._waiting.discard(request.key)
            self._in_flight.discard(request.key)

    def _engine(self) -> asyncio.Task[None]:
        """One start for all questions, so that one that fails is not tried by each."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._llm.start())
        return self._starting

    async def _answer(self, request: Request) -> tuple[Answer, Usage]:
        if (refused := self._spending.refusal()) is not None:
            return refused, Usage()
        if self._width == 1:
            await asyncio.to_thread(self._quarantine.mark, request)
        return await self._spending.ask(self._llm, self._task, request)

    async def _keep(self, key: str, answer: Answer, usage: Usage) -> None:
        if answer.finish_reason not in ("stop", "length"):
            return
        self._unwritten.append((key, answer, usage))
        if len(self._unwritten) >= min(self._width or SEGMENT_ANSWERS, SEGMENT_ANSWERS):
            await self._write()
        elif self._timer is None:
            self._timer = asyncio.create_task(self._write_later())

    async def _write_later(self) -> None:
        await asyncio.sleep(SEGMENT_SECONDS)
        self._timer = None
        with contextlib.suppress(AutointerpError):  # written again with the next segment
            await self._write()

    async def _write(self) -> None:
        """Append what is unwritten as one segment. Raises what the store raises."""
        async with self._writing:
            batch, self._unwritten = self._unwritten, []
            if not batch:
                return
            try:
                self._segment = await asyncio.to_thread(self._put, batch)
            except AutointerpError:
                self._unwritten = batch + self._unwritten
                raise

    def _put(self, batch: Sequence[tuple[str, Answer, Usage]]) -> int:
        """Write the batch under the first number that is free; gives the next number."""
        kind = TABLES["answers"]
        rows = [_row(key, answer) for key, answer, _ in sorted(batch, key=lambda kept: kept[0])]
        table = pa.Table.from_pylist(rows, schema=kind.schema)
        spent = sum((usage for _, _, usage in batch), Usage())
        metadata = {name: repr(value) for name, value in asdict(spent).items()}
        folder, number = answers_folder(self._task), self._segment
        while not write_table(
            self._store, _segment(folder, number), table, kind.schema, metadata, key=kind.key
        ):
            number += 1
        return number + 1

    def _cancel(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self._questions[key].cancel()


def remembered(store: Store, task: Task) -> tuple[dict[str, Answer], int]:
    """The answers that were kept of a task, by key, and the number of the next segment."""
    names, schema = store.list(answers_folder(task)), TABLES["answers"].schema
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(pool.map(lambda name: read_table(store, name, schema=schema), names))
    known = {row["key"]: _values(row) for table in tables for row in table.to_pylist()}
    return known, int(names[-1].rpartition("/")[2].removesuffix(".parquet")) + 1 if names else 0


def paid_by_method(store: Store, step: str | None = None) -> dict[tuple[str, str], Usage]:
    """What the kept answers cost, of one step or all, by (step, method); from footers alone."""
    names = store.list(f"{ANSWERS}/{step}/" if step else f"{ANSWERS}/")
    with ThreadPoolExecutor(_READERS) as pool:
        footers = list(pool.map(lambda name: read_metadata(store, name), names))
    sums: dict[tuple[str, str], Usage] = {}
    for name, footer in zip(names, footers, strict=True):
        _, of_step, method, *_ = name.split("/")
        sums[of_step, method] = sums.get((of_step, method), Usage()) + _usage(footer)
    return sums


def spent(store: Store, step: str | None = None) -> Usage:
    """The sum of `paid_by_method`."""
    return sum(paid_by_method(store, step).values(), Usage())


def spent_before(run: Run) -> dict[Pool, Usage]:
    """What earlier attempts have cost, by pool; nothing where no ceiling is set."""
    if run.config.budget.max_tokens is None and run.config.budget.max_cost is None:
        return {}
    by_pool: dict[Pool, Usage] = {}
    for (step, _), usage in paid_by_method(open_store(run.uri)).items():
        pool = step_named(step).pool
        by_pool[pool] = by_pool.get(pool, Usage()) + usage
    return by_pool


def _segment(folder: str, number: int) -> str:
    return f"{folder}{number:05d}.parquet"


def _usage(footer: Mapping[str, str]) -> Usage:
    sums = {name: int(footer[name]) for name in footer if name.startswith("num_")}
    return Usage(**sums, engine_seconds=float(footer["engine_seconds"]))


def _row(key: str, answer: Answer) -> dict[str, Any]:
    logprobs = answer.choice_logprobs
    values = {**asdict(answer), "choice_logprobs": list(logprobs.items()) if logprobs else None}
    return {"key": key, **values}


def _values(row: dict[str, Any]) -> Answer:
    values = {name: value for name, value in row.items() if name != "key"}
    pairs = values["choice_logprobs"]
    return Answer(**{**values, "choice_logprobs": None if pairs is None else dict(pairs)})
