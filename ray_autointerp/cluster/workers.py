"""Ray actors that hold models: one kind for the subject and cpu steps, one for LLM engines.

An actor's constructor does nothing that can fail; models load with the first task, so that a
model that cannot be loaded is an error with its own sentence and not a dead actor.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any, Literal

from ray_autointerp.execution.execute import execute
from ray_autointerp.execution.tracker import Receipt, now
from ray_autointerp.llm.client import LLMClient
from ray_autointerp.llm.open import check_judge, open_llm
from ray_autointerp.plan.answer_kinds import answer_kinds
from ray_autointerp.plan.step import Pool
from ray_autointerp.plan.suspects import Width
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.answers import spent_before
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.spending import Spending


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class _Turn:
    """The use of a worker's models by one task at a time, and when it began."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.began = now()

    def __enter__(self) -> None:
        self._lock.acquire()
        self.began = now()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class SubjectWorker:
    """Runs cpu and subject tasks; the subject is loaded once, and used by one task at a time.

    With two threads a second task begins while the first one writes what it found.
    """

    def __init__(self, run: Run) -> None:
        self._context = WorkerContext(run)
        self._models = threading.Lock()

    def work(self, task: Task, width: Width = None) -> Receipt:
        """Execute the task; its objects are on the store when the receipt returns."""
        turn = _Turn(self._models)
        done = asyncio.run(execute(task, self._context, width=width, turn=turn))
        started, clock = turn.began
        seconds = now()[1] - clock
        return Receipt(task, started, seconds, "done", _name(), done.detail, done.usage)

    def warm(self) -> None:
        """It is there; the subject is loaded with the first task."""

    def pid(self) -> int:
        """The process to blame, or to kill in a test."""
        return os.getpid()

    def close(self) -> None:
        """Nothing outlives it."""


class LLMWorker:
    """Runs llm tasks, many at once, over one engine, so that its batch never starves."""

    def __init__(self, run: Run, pool: Literal["llm", "judge"] = "llm") -> None:
        self._run = run
        self._pool = pool
        self._context: WorkerContext | None = None
        self._llm: LLMClient | None = None
        self._opening = asyncio.Lock()

    async def work(self, task: Task, width: Width = None) -> Receipt:
        """Execute the task; its objects are on the store when the receipt returns.

        `width` bounds its requests in flight, where it is suspected of killing engines.
        """
        context = await self._opened()
        started, clock = now()
        done = await execute(task, context, width=width)
        seconds = now()[1] - clock
        return Receipt(task, started, seconds, "done", _name(), done.detail, done.usage)

    async def warm(self) -> None:
        """Start the engine before the first task asks for it. Raises LLMError."""
        await self._opened()
        assert self._llm is not None
        await self._llm.start()

    async def paid(self) -> Mapping[Pool, Usage]:
        """What this worker's answers have cost so far, by pool."""
        return (await self._opened()).spending.paid

    async def stop_asking(self, reason: str) -> None:
        """The run's ceiling is reached: what is in flight is answered, nothing more is asked."""
        (await self._opened()).spending.close(reason)

    async def pid(self) -> int:
        """The process to blame, or to kill in a test."""
        return os.getpid()

    async def close(self) -> None:
        """Stop the engine and its child processes."""
        if self._llm is not None:
            await self._llm.close()

    async def _opened(self) -> WorkerContext:
        async with self._opening:
            if self._context is None:
                config = self._run.config
                judges = self._pool == "judge"
                if not judges:
                    await check_judge(config)
                self._llm = open_llm(
                    config.judging if judges else config.llm,
                    threads=config.operations.threads,
                    gpus=config.operations.judge_gpus if judges else config.operations.llm_gpus,
                    kinds=answer_kinds(config, self._pool),
                )
                spending = Spending(config, spent_before(self._run))
                # Where no judge is named, the explainer's engine judges too.
                self._context = WorkerContext(
                    self._run, llm=self._llm, judge=self._llm, spending=spending
                )
        return self._context


def environment(run: Run) -> dict[str, Any]:
    """The runtime environment of every worker: thread bounds before any library is imported."""
    threads = str(run.config.operations.threads)
    variables = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }
    # Subject and engine share the cores of a small machine: threads that wait must sleep soon, for
    # one that spins takes a core from the other process. An engine that is alone loses a tenth of
    # its tokens by that, so where they take turns threads wait as they would by themselves.
    if not run.config.operations.take_turns:
        variables |= {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}  # libgomp, Intel's OpenMP
    return {"env_vars": variables}
