"""What the driver makes of a worker's death, in whatever words Ray tells it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError
from receipts import Kept

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.pipeline import Runner
from ray_autointerp.runs.run import Run


def test_worker_that_ray_kills_for_want_of_memory_is_replaced_and_its_task_done_again(
    quick_run: Run, ray_runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once while it starts and once while it works; Ray's error is none of a dead actor."""
    run = replace(quick_run, uri=str(tmp_path / "run"))
    shutil.copytree(quick_run.uri, run.uri)
    parts = sorted(Path(run.uri).glob("sae/*/neighbours/part-*"))
    assert len(parts) == 2
    expected = {part: part.read_bytes() for part in parts}
    for part in parts:
        part.unlink()
    get: Callable[[Any], Any] = ray.get
    killed: set[type] = set()

    def get_or_die(reference: Any) -> Any:
        answer = get(reference)
        if type(answer) not in killed:
            killed.add(type(answer))
            raise OutOfMemoryError("the node runs low on memory")
        return answer

    monkeypatch.setattr(ray, "get", get_or_die)
    kept = Kept()
    ray_runner(run, kept)
    assert {type(None), Receipt} <= killed
    assert sorted(receipt.outcome for receipt in kept.receipts) == ["done", "done", "worker died"]
    assert {part: part.read_bytes() for part in parts} == expected


def test_tasks_whose_worker_finds_no_place_are_said_to_wait_and_go_on_when_it_does(
    quick_run: Run, ray_runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others hold the whole cluster as the run begins."""
    run = replace(quick_run, uri=str(tmp_path / "run"))
    shutil.copytree(quick_run.uri, run.uri)
    (part, *_) = sorted(Path(run.uri).glob("sae/*/neighbours/part-*"))
    part.unlink()
    monkeypatch.setattr("ray_autointerp.cluster.pools._UNPLACED_S", 0.5)
    monkeypatch.setattr("ray_autointerp.cluster.run_ray._LOOK_AGAIN_S", 0.2)

    class Other:
        def hold(self) -> None:
            pass

    other = ray.remote(Other).options(num_cpus=ray.cluster_resources()["CPU"]).remote()
    ray.get(other.hold.remote())
    said: list[str] = []

    class Waits(Silent):
        def waits(self, reason: str) -> None:
            said.append(reason)
            ray.kill(other)

    ray_runner(run, Waits())
    assert part.exists()
    (sentence,) = said
    assert sentence.startswith("A subject worker wants 1 CPU, and no node of the cluster has had")
    assert "(1 node: 6 CPUs)" in sentence
