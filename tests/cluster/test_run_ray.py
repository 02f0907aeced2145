"""What the driver makes of a worker's death, in whatever words Ray tells it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.pipeline import Runner
from ray_autointerp.runs.run import Run


class Kept(Silent):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def ended(self, receipt: Receipt) -> None:
        self.outcomes.append(receipt.outcome)


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
    assert sorted(kept.outcomes) == ["done", "done", "worker died"]
    assert {part: part.read_bytes() for part in parts} == expected
