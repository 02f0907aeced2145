"""The frozen workload of the LLM races: every request of a finished run, in the order it was asked.

    python jobs/benchmarks/llm_workload.py RUN requests.jsonl

The run's llm stages are run again over its own tables, with an LLM that only writes down what it is
asked and gives the answer that the run was given; nothing is written to the run.
"""

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.shards import tasks_of
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.prompts.message import Message
from ray_autointerp.records.task import Task
from ray_autointerp.runs.answers import remembered
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


class _Scribe:
    """An LLM that repeats what a run was answered, and keeps the questions."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.asked: dict[str, Request] = {}
        self._answers = answers

    async def start(self) -> None:
        """Nothing to start."""

    async def ask(self, request: Request) -> Answer:
        """What the run was answered."""
        self.asked.setdefault(request.key, request)
        return self._answers[request.key]

    async def close(self) -> None:
        """Nothing is held."""


class _Reading(WorkerContext):
    """A context that writes nothing."""

    def write(self, *_: Any, **__: Any) -> None:
        """The tables are there already."""


def requests_of(run: Run, method: str | None = None) -> list[Request]:
    """Every request of the run's explain, sentence and judge steps (of one method), each once."""
    asked: dict[str, Request] = {}
    for task in _tasks(run):
        if method not in (None, task.method):
            continue
        context = _Reading(run)
        scribe = _Scribe(remembered(context.tables.store, task)[0])
        stage = importlib.import_module(f"ray_autointerp.stages.{task.step}")
        asyncio.run(stage.run(task, context.for_task(task, scribe)))
        asked |= scribe.asked
    return list(asked.values())


def write(requests: Sequence[Request], path: Path) -> None:
    """One JSON line per request."""
    path.write_text("".join(json.dumps(asdict(request)) + "\n" for request in requests))


def read(path: Path) -> list[Request]:
    """What `write` wrote."""
    return [_request(json.loads(line)) for line in path.read_text().splitlines()]


def _request(raw: dict[str, Any]) -> Request:
    raw["messages"] = tuple(Message(**message) for message in raw["messages"])
    raw["choices"] = tuple(raw["choices"]) if raw["choices"] else None
    return Request(**raw)


def _tasks(run: Run) -> Iterator[Task]:
    tables = Tables(run)
    selected = {sae: tables.selected(sae) for sae in run.saes}
    for step in FLOW:
        if step.pool in LLM_POOLS:
            yield from tasks_of(step, run.config, run.axes, selected) or ()


if __name__ == "__main__":
    found = requests_of(load_run(sys.argv[1]))
    write(found, Path(sys.argv[2]))
    print(f"{len(found)} requests")
