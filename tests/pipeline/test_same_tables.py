"""One run has one set of tables: wherever, whenever and by whomever its tasks were done."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killers import Killer

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import RunMismatch, TaskError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.pipeline import Runner, label
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.json_object import get_json

Planted = Callable[..., Config]
Contents = Callable[[str], dict[str, str]]
WORKER = "ray::SubjectWorker.work"
"""Ray renames an actor's process after the method that it runs."""


def test_s3_run_has_the_tables_of_the_folder_run(
    quick_run: Run, quick_config: Planted, bucket: str, contents: Contents
) -> None:
    run = label(quick_config(f"s3://{bucket}/labels"), run_local, Silent())
    assert contents(run.uri) == contents(quick_run.uri)


def test_killed_run_continues_and_ends_with_the_same_tables(
    quick_run: Run, quick_config: Planted, tmp_path: Path, contents: Contents
) -> None:
    """kill -9 three times, each a little further, then to the end."""
    config = quick_config(tmp_path)
    script = (
        "import sys, json; from pathlib import Path\n"
        "from ray_autointerp.cluster.progress import Silent\n"
        "from ray_autointerp.config import Config\n"
        "from ray_autointerp.pipeline import Runner, label\n"
        "from ray_autointerp.execution.run_local import run_local\n"
        "label(Config.model_validate_json(Path(sys.argv[1]).read_text()), run_local, Silent())\n"
    )
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-c", script, str(tmp_path / "config.json")]
    whole = len(contents(quick_run.uri))
    folder = tmp_path / config.run.name
    for share in (0.3, 0.75):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(folder.glob("**/*.parquet"))) < share * whole:
            time.sleep(0.02)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    continued = Recorder()
    run = label(config, run_local, continued)
    assert contents(run.uri) == contents(quick_run.uri)
    assert 0 < len(continued.tasks) < whole, "what was finished was not done again"


def test_finished_run_does_nothing_again(quick_run: Run) -> None:
    recorder = Recorder()
    label(quick_run.config, run_local, recorder)
    assert recorder.tasks == []


def test_run_of_the_same_name_with_another_seed_is_refused(quick_run: Run) -> None:
    section = quick_run.config.run.model_copy(update={"seed": 1})
    other = quick_run.config.model_copy(update={"run": section})
    with pytest.raises(RunMismatch, match=r"cannot be continued.*run\.seed = 0.*now says 1"):
        label(other, run_local, Silent())


def test_ray_run_with_a_killed_worker_has_the_tables_of_the_local_run(
    quick_run: Run,
    quick_config: Planted,
    ray_runner: Runner,
    tmp_path: Path,
    contents: Contents,
) -> None:
    killer = Killer(("hub_stats", WORKER), ("calibrate", WORKER))
    config = quick_config(tmp_path, {"operations": {"subject_workers": 2}})
    run = label(config, ray_runner, killer)
    assert killer.num_killed == 2
    assert killer.lost, "the ledger's watcher saw the attempt that was lost"
    assert contents(run.uri) == contents(quick_run.uri)


def test_workers_that_take_turns_write_what_they_write_together(
    run_in_turns: tuple[Run, list[Receipt]],
    quick_config: Planted,
    tmp_path: Path,
    contents: Contents,
) -> None:
    run, _ = run_in_turns
    of_the_same_name = quick_config(tmp_path, {"run": {"name": run.config.run.name}})
    assert contents(run.uri) == contents(label(of_the_same_name, run_local, Silent()).uri)


def test_prompt_that_kills_every_engine_becomes_a_row_and_the_run_goes_on(
    quick_config: Planted, ray_runner: Runner, tmp_path: Path
) -> None:
    recorder = Recorder()
    deadly = quick_config(tmp_path, POISONED | {"llm": {"script": "bad_day:deadly"}})
    run = label(deadly, ray_runner, recorder)
    (sae,) = run.saes
    tables = Tables(run)
    rows = tables.row("descriptions", sae, list(tables.selection(sae)), "ensemble_raw").values()
    poisoned = [row for row in rows if row["status"] == "quarantined"]
    assert 0 < len(poisoned) < len(rows)
    assert {row["status"] for row in rows} == {"ok", "quarantined"}
    names = tables.store.list("quarantine/explain/")
    prompts = {get_json(tables.store, name)["prompt"] for name in names}
    assert {row["prompt_digest"] for row in poisoned} == prompts
    lost = [task for task in recorder.lost if task.step == "explain"]
    assert lost, "its worker died"


def test_engine_that_dies_of_everything_stops_the_run_with_its_task(
    quick_config: Planted, ray_runner: Runner, tmp_path: Path
) -> None:
    changes = POISONED | {"llm": {"script": "bad_day:dead"}, "operations": {"max_quarantined": 0}}
    with pytest.raises(TaskError, match=r"`\w+ · .*continues from"):
        label(quick_config(tmp_path, changes), ray_runner, Silent())


POISONED: dict[str, dict[str, Any]] = {
    "select": {"rule": "list", "latents": [9], "panel": 3, "sample": 1},
    "describe": {"methods": ["ensemble_raw", "keywords"]},
}
"""Latent 9 fires on the word that the deadly script dies of."""


class Recorder(Silent):
    """Keeps the tasks that were started."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.lost: list[Task] = []

    def started(self, task: Task) -> None:
        self.tasks.append(task)

    def ended(self, receipt: Receipt) -> None:
        if receipt.outcome != "done":
            self.lost.append(receipt.task)
