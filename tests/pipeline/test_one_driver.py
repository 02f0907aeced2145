"""A run has one driver: a second is refused, and one that was replaced stops."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import DriverReplaced, RunIsDriven
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.records.task import Task
from ray_autointerp.runs import lease
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import open_store

Planted = Callable[..., Config]
Contents = Callable[[str], dict[str, str]]


class Interrupted(Silent):
    """An observer that does something as the tenth task starts, while the driver works on."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self.num_started = 0

    def started(self, task: Task) -> None:
        self.num_started += 1
        if self.num_started == 10:
            self._act()


pytestmark = pytest.mark.usefixtures("quick_lease")


def test_second_driver_is_refused_and_the_first_goes_on(
    quick_config: Planted, quick_run: Run, tmp_path: Path, contents: Contents
) -> None:
    config = quick_config(tmp_path)
    refused = []

    def begin_again() -> None:
        with pytest.raises(RunIsDriven, match="is being driven by process") as error:
            label(config, run_local, Silent())
        refused.append(error)

    run = label(config, run_local, Interrupted(begin_again))
    assert len(refused) == 1
    assert contents(run.uri) == contents(quick_run.uri)


def test_driver_that_was_replaced_stops_and_the_next_one_finishes(
    quick_config: Planted, quick_run: Run, tmp_path: Path, contents: Contents
) -> None:
    config = quick_config(tmp_path)
    store = open_store(f"{config.run.root}/{config.run.name}")

    def take_over() -> None:
        lease.acquire(store, take_over=True).release()
        time.sleep(0.3)

    replaced = Interrupted(take_over)
    with pytest.raises(DriverReplaced, match="What is finished is kept"):
        label(config, run_local, replaced)
    assert replaced.num_started == 10
    run = label(config, run_local, Silent())
    assert contents(run.uri) == contents(quick_run.uri)


def test_finished_run_is_read_whoever_holds_its_lease(quick_run: Run) -> None:
    store = open_store(quick_run.uri)
    held = lease.acquire(store)
    label(quick_run.config, run_local, Silent())
    held.release()
