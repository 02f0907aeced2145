"""What a run says when it stops: that the same command continues, only where that can help."""

import gc
import io
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ray_autointerp.cluster.progress import Progress, Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import AutointerpError, EngineDied, SaeError, TaskError, TransientError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.execution.tracker import Receipt, RunTracker, now, what_next
from ray_autointerp.pipeline import label
from ray_autointerp.preflight.check import check
from ray_autointerp.runs.manifest import open_run
from ray_autointerp.stages import neighbours

Planted = Callable[..., Config]
CONTINUES = "the same command continues from there"


def stopped_by(
    error: Exception, quick_config: Planted, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[BaseException, int]:
    """What a run raises whose `neighbours` fails so, and how often that was tried."""
    tries = 0

    def fail(*_: Any) -> None:
        nonlocal tries
        tries += 1
        raise error

    monkeypatch.setattr(neighbours, "run", fail)
    config = quick_config(folder, {"operations": {"max_attempts": 2}})
    with pytest.raises(AutointerpError) as caught:
        label(config, run_local, Silent())
    return caught.value, tries


def test_error_that_may_pass_is_tried_again_and_can_be_continued(
    quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, tries = stopped_by(TransientError("busy"), quick_config, tmp_path, monkeypatch)
    assert isinstance(found, TaskError) and tries == 2
    assert "`neighbours" in str(found) and "2 time(s): busy." in str(found)
    assert CONTINUES in str(found)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TaskError("set subject.dtype"), "set subject.dtype. What is finished is kept, but the"),
        (KeyError("promoted"), "not expected"),
    ],
)
def test_error_that_will_come_again_is_not_said_to_be_continued_from(
    error: Exception,
    said: str,
    quick_config: Planted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, tries = stopped_by(error, quick_config, tmp_path, monkeypatch)
    assert isinstance(found, TaskError) and tries == 1
    assert said in str(found) and "fail" in str(found) and "first." in str(found)
    assert "continues" not in str(found)


def test_sentence_for_people_is_raised_as_it_is(
    quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as of an SAE that a worker finds spoilt: tried once."""
    error = SaeError("The SAE holds NaN.")
    assert stopped_by(error, quick_config, tmp_path, monkeypatch) == (error, 1)


def test_worker_that_died_and_engine_that_died_can_be_tried_again() -> None:
    assert CONTINUES in what_next(RuntimeError("gone"), worker_died=True)
    assert CONTINUES in what_next(EngineDied("gone"), worker_died=False)
    assert CONTINUES not in what_next(RuntimeError("gone"), worker_died=False)


def test_task_that_is_done_is_not_kept_in_memory(
    quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run has hundreds of thousands."""
    monkeypatch.setattr("ray_autointerp.execution.tracker._LEDGER_ROWS", 1)
    checked = check(quick_config(tmp_path))
    run = open_run(checked.config, checked.axes, checked.inputs, checked.micro_batch)
    tracker = RunTracker(run, Progress(Console(file=io.StringIO())))
    kept = []
    while task := tracker.take("cpu", "subject"):
        if task.step == "select":
            break
        kept.append(weakref.ref(task))
        tracker.done(Receipt(task, *now(), "done", "worker"))
    tracker.close()
    gc.collect()
    assert len(kept) > 10
    assert not [reference() for reference in kept if reference()]
