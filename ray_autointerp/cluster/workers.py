"""Ray actors that hold models: one kind for the subject and cpu steps, one for LLM engines.

An actor's constructor does nothing that can fail; models load with the first task, so that a
model that cannot be loaded is an error with its own sentence and not a dead actor.
"""

import asyncio
import os
import socket
from typing import Any

from ray_autointerp.llm.door import LLM
from ray_autointerp.llm.open import open_llm
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.execute import execute
from ray_autointerp.stages.run import Run
from ray_autointerp.stages.worklist import Receipt, now


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class SubjectWorker:
    """Runs cpu and subject tasks one at a time; the subject is loaded once."""

    def __init__(self, run: Run) -> None:
        self._desk = Desk(run)

    def work(self, task: Task) -> Receipt:
        """Execute the task; its objects are on the store when the receipt returns."""
        started, clock = now()
        done = asyncio.run(execute(task, self._desk))
        return Receipt(task, started, now()[1] - clock, "done", _name(), done.detail)

    def pid(self) -> int:
        """The process to blame, or to kill in a test."""
        return os.getpid()


class LLMWorker:
    """Runs llm tasks, several at once, over one engine, so that its batch never starves."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._desk: Desk | None = None
        self._llm: LLM | None = None
        self._opening = asyncio.Lock()

    async def work(self, task: Task) -> Receipt:
        """Execute the task; its objects are on the store when the receipt returns."""
        desk = await self._opened()
        started, clock = now()
        done = await execute(task, desk)
        seconds = now()[1] - clock
        return Receipt(task, started, seconds, "done", _name(), done.detail, done.usage)

    async def warm(self) -> None:
        """Start the engine before the first task asks for it."""
        await (await self._opened()).llm.start()

    async def pid(self) -> int:
        """The process to blame, or to kill in a test."""
        return os.getpid()

    async def close(self) -> None:
        """Stop the engine and its child processes."""
        if self._llm is not None:
            await self._llm.close()

    async def _opened(self) -> Desk:
        async with self._opening:
            if self._desk is None:
                config = self._run.config
                self._llm = open_llm(config.llm, threads=config.operations.threads)
                self._desk = Desk(self._run, llm=self._llm)
        return self._desk


def environment(run: Run) -> dict[str, Any]:
    """The runtime environment of every worker: thread bounds before any library is imported."""
    threads = str(run.config.operations.threads)
    return {
        "env_vars": {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            # Subject and engine share cores on a small machine: threads that wait must sleep, for
            # a spinning one takes a core from the other process (libgomp, Intel's OpenMP).
            "OMP_WAIT_POLICY": "PASSIVE",
            "KMP_BLOCKTIME": "0",
        }
    }
