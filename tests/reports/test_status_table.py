"""What the store says of a run: how far it is, who drives it, what is left."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.plan.time_left import Left, MeasuredStep
from ray_autointerp.records.task import Task
from ray_autointerp.reports.status_table import Status, status, status_table
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run

Planted = Callable[..., Config]


class Stop(Exception):
    """Ends a run between two tasks."""


class Watched(Silent):
    """Reads the status as a task of the step starts, then ends the run."""

    def __init__(self, uri: Path, step: str) -> None:
        self._uri, self._step = uri, step
        self.seen: Status | None = None

    def started(self, task: Task) -> None:
        if task.step == self._step:
            self.seen = status(load_run(str(self._uri)))
            raise Stop


def text(of: Status) -> str:
    console = Console(file=io.StringIO(), width=300)
    console.print(status_table(of))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_status_while_it_runs_after_it_stopped_and_at_its_end(
    quick_config: Planted, tmp_path: Path
) -> None:
    config = quick_config(tmp_path)
    watched = Watched(tmp_path / config.run.name, "write_sentences")
    with pytest.raises(Stop):
        label(config, run_local, watched)
    assert watched.seen is not None
    assert "It is driven by process" in text(watched.seen)
    stopped = status(load_run(str(tmp_path / config.run.name)))
    assert not stopped.is_finished and stopped.driver is None
    assert 0 < stopped.left.num_done < stopped.left.num_tasks
    by_name = {step.progress.step: step for step in stopped.steps}
    assert by_name["max_act"].progress.done > 0 and by_name["max_act"].seconds is not None
    assert by_name["write_sentences"].progress.done == 0
    assert "write_sentences" not in stopped.left.unmeasured, "other steps asked its LLM"
    assert stopped.left.seconds is not None
    said = text(stopped)
    assert f"{stopped.left.num_done:,} of {stopped.left.num_tasks:,} tasks are done" in said
    assert "Nobody drives it: the command that began it continues it." in said
    run = label(config, run_local, Silent())
    finished = status(run)
    assert finished.is_finished and finished.left.num_done == finished.left.num_tasks
    assert "finished." in text(finished)


def test_time_left_is_said_or_that_it_is_not_known(quick_run: Run) -> None:
    steps = (MeasuredStep(StepProgress("explain", "llm", 4, 10), 30.0),)
    left = Left(7, 18, 90.0, ())
    made = Status(quick_run, False, None, steps, Counter({"worker died": 2}), left, "LLM: nothing")
    said = text(made)
    assert "7 of 18 tasks are done (39%)" in said
    assert "About 0:01:30 left at the rates so far." in said
    assert "Attempts that came to nothing: 2 worker died." in said
    unknown = replace(made, left=Left(7, 18, None, ("detection",)))
    assert "What is left is not known before a task of detection is done." in text(unknown)
