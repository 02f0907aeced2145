"""The sides of the LLM races: our pool with frozen prompts, and peers in processes of their own."""

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llm_workload
import ray

from ray_autointerp.cluster.pool import Pool, Size
from ray_autointerp.cluster.workers import LLMWorker, environment
from ray_autointerp.plan.shards import num_shards
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.answers import Answers
from ray_autointerp.runs.run import Run


class PromptWorker(LLMWorker):
    """The pool's own worker; a task is a share of frozen prompts in place of a stage's."""

    def __init__(self, run: Run, prompts: str, share: int) -> None:
        super().__init__(run)
        self._prompts = llm_workload.read(Path(prompts))
        self._share = share

    async def work(self, task: Task, width: int | None = None) -> Usage:  # type: ignore[override]
        """Ask the share through the task's Answers, so that every answer is kept."""
        context = await self._opened()
        asked = self._prompts[task.shard * self._share : (task.shard + 1) * self._share]
        async with Answers(
            context.llm_of(task), task, context.tables.store, context.spending, width=width
        ) as answers:
            await asyncio.gather(*(answers.ask(request) for request in asked))
        return context.spending.claim(task)

    async def reset(self) -> None:
        """Forget the prompts of the round before."""
        if hasattr(self._llm, "reset_prefix_cache"):
            await self._llm.reset_prefix_cache()  # type: ignore[union-attr]

    async def forget(self, uri: str) -> None:
        """Keep the next answers elsewhere: nothing of the round before is remembered."""
        context = await self._opened()
        context.run = self._run.__class__(self._run.config, self._run.axes, uri)
        context.__dict__.pop("store", None)


class OurPool:
    """The pool, warm, over one engine (or several clients)."""

    def __init__(
        self, run: Run, prompts: Path, *, share: int = 64, workers: int = 1, room: int = 0
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="llm_pool_"))
        self._share = share
        self._num_prompts = len(llm_workload.read(prompts))
        self._rounds = 0
        # No subject works beside the engine here, as where the two take turns.
        operations = run.config.operations.model_copy(update={"take_turns": True})
        alone = Run(run.config.model_copy(update={"operations": operations}), run.axes, run.uri)
        actor = ray.remote(PromptWorker).options(
            runtime_env=environment(alone), max_concurrency=1000, num_cpus=0.5
        )
        section = run.config.llm
        size = Size(workers, workers, room or section.requests_in_flight, ahead=2)
        self._pool = Pool(lambda: actor.remote(run, str(prompts), share), size, lambda _: share)
        self._pool.open()
        while self._pool.starting:
            (reference,), _ = ray.wait(self._pool.starting)
            ray.get(reference)
            self._pool.started(reference)

    def round(self, uri: str | None = None) -> dict[str, Any]:
        """All prompts once, from a cold prefix cache, every answer kept (at `uri`)."""
        self._rounds += 1
        uri = uri or str(self._folder / str(self._rounds))
        for actor in self._pool.actors():
            ray.get([actor.reset.remote(), actor.forget.remote(uri)])
        start = time.perf_counter()
        usage = self._asked()
        seconds = time.perf_counter() - start
        return {
            "seconds": seconds,
            "prompt_tokens": usage.num_prompt_tokens,
            "cached_tokens": usage.num_cached_tokens,
            "generated_tokens": usage.num_generated_tokens,
            "requests": usage.num_requests,
        }

    def _asked(self) -> Usage:
        count = num_shards(self._num_prompts, self._share)
        waiting = [Task("explain", "sae", "max_act", shard, count) for shard in range(count)]
        in_flight: list[Any] = []
        total = Usage()
        while waiting or in_flight:
            while waiting and self._pool.has_room():
                in_flight.append(self._pool.submit(waiting.pop(0)))
            (done,), in_flight = ray.wait(in_flight)
            total += ray.get(done)
            self._pool.settle(done)
        return total

    def close(self) -> None:
        """End the engine."""
        self._pool.close()
        shutil.rmtree(self._folder)


class Served:
    """A peer in a process of its own, told to go by a line."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._line()

    def round(self, word: str = "go") -> dict[str, Any]:
        """One round of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"{self._process.args!r} ended")


def interleaved(
    sides: dict[str, Callable[[], dict[str, Any]]], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Each side once to warm up, then all in turn; every round begins with another side."""
    for side in sides.values():
        side()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            row = sides[name]()
            rows[name].append(row)
            told = {k: v for k, v in row.items() if k != "texts"}
            print(json.dumps({"side": name, **told}), file=sys.stderr, flush=True)
    return rows


def median(rows: list[dict[str, Any]], name: str) -> float:
    """Of one figure over the rounds."""
    return statistics.median(float(row[name]) for row in rows)
