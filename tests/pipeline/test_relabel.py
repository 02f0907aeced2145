"""Every new checkpoint is labelled once, oldest first, by whoever polls."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from receipts import Kept
from typer.testing import CliRunner

from ray_autointerp.cli import app
from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import Poll, label, relabel
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import open_store

Planted = Callable[..., Config]
FEW: dict[str, dict[str, Any]] = {
    "describe": {"methods": ["max_act", "keywords"]},
    "score": {"methods": ["keywords"], "num_units": 0, "three_set_methods": []},
}


class Acting(Kept):
    """Does something as a task begins."""

    def __init__(self, act: Callable[[Task], None]) -> None:
        super().__init__()
        self._act = act

    def started(self, task: Task) -> None:
        self._act(task)


class Poller:
    """Polls a series; keeps what it said, and the steps of each run."""

    def __init__(self, config: Config, act: Callable[[Task], None] = lambda _: None) -> None:
        self._config, self._act = config, act
        self.said: list[str] = []
        self.steps: list[set[str]] = []

    def poll(self) -> Poll:
        return relabel(self._config, self._label, self.said.append)

    def _label(self, config: Config) -> Run:
        acting = Acting(self._act)
        run = label(config, run_local, acting)
        self.steps.append(acting.steps)
        return run


@pytest.fixture
def training(tmp_path: Path, planted: PlantedTruth) -> Path:
    """A folder with two checkpoints of one SAE in training."""
    for step in (900, 1000):
        shutil.copytree(planted.folder / "sae", tmp_path / "training" / f"step_{step}")
    return tmp_path / "training"


@pytest.fixture
def config(quick_config: Planted, training: Path, tmp_path: Path) -> Config:
    made = quick_config(tmp_path / "runs", FEW)
    sae = made.sae[0].model_copy(update={"path": None, "checkpoints": str(training)})
    run = made.run.model_copy(update={"name": "nightly"})
    return made.model_copy(update={"sae": (sae,), "run": run})


def names(poll: Poll) -> list[str]:
    return [run.folder for run in poll.runs]


def test_poll_labels_each_checkpoint_once_and_the_next_one_only_what_is_new(
    config: Config, training: Path, planted: PlantedTruth
) -> None:
    poller = Poller(config)
    assert names(poller.poll()) == ["nightly-00000-step_900", "nightly-00001-step_1000"]
    first, second = poller.steps
    assert {"corpus", "overlap", "jacobian", "max_act"} <= first
    assert "corpus" not in second and "jacobian" not in second
    assert poller.poll() == Poll((), 0)
    new = training / "step_2000"
    shutil.copytree(planted.folder / "sae", new)
    (poll,) = (poller.poll(),)
    assert names(poll) == ["nightly-00002-step_2000"]
    assert poll.runs[0].config.run.parent == "nightly-00001-step_1000"
    assert poller.said == []


def test_checkpoint_on_its_way_waits_and_holds_up_none(config: Config, training: Path) -> None:
    weights = training / "step_900" / "sae_weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-5])
    poller = Poller(config)
    assert names(poller.poll()) == ["nightly-00000-step_1000"]
    (said,) = poller.said
    assert said.startswith(f"Waiting for {training}/step_900: its sae_weights") and "whole" in said
    weights.write_bytes(whole)
    assert names(poller.poll()) == ["nightly-00001-step_900"]


def test_checkpoint_that_does_not_fit_takes_no_place_and_holds_up_none(
    config: Config, training: Path
) -> None:
    path = training / "step_900" / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"d_in": 7}))
    poller = Poller(config)
    poll = poller.poll()
    assert (names(poll), poll.num_refused) == (["nightly-00000-step_1000"], 1)
    assert poller.said[0].startswith("Passed over: ") and "step_900" in poller.said[0]
    assert len(open_store(config.run.root).list("series/")) == 1


def test_what_a_poll_that_died_left_is_continued_by_the_next(config: Config) -> None:
    class Killed(Exception):
        pass

    def die(task: Task) -> None:
        if task.step == "explain":
            raise Killed

    with pytest.raises(Killed):
        Poller(config, die).poll()
    poller = Poller(config)
    assert names(poller.poll()) == ["nightly-00000-step_900", "nightly-00001-step_1000"]
    assert "max_act" not in poller.steps[0] and "explain" in poller.steps[0]


def test_second_poller_leaves_the_checkpoint_to_the_first(
    config: Config, quick_lease: None
) -> None:
    other = Poller(config)
    polls: list[Poll] = []

    def poll_too(task: Task) -> None:
        if task.step == "explain" and not polls:
            polls.append(other.poll())

    first = Poller(config, poll_too)
    assert len(names(first.poll())) == 2
    assert polls == [Poll((), 0)]
    assert "is being driven by process" in other.said[0]


def test_watch_polls_until_it_is_stopped_and_outlives_a_poll_that_fails(
    config: Config, training: Path, planted: PlantedTruth, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = training.with_name("away")

    def arrive() -> None:
        shutil.copytree(planted.folder / "sae", training / "step_2000")

    def stop() -> None:
        raise KeyboardInterrupt

    between = iter([arrive, lambda: training.rename(away), lambda: away.rename(training), stop])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        next(between)()

    monkeypatch.setattr("ray_autointerp.cli.read_config", lambda _: config)
    monkeypatch.setattr("ray_autointerp.cli.time.sleep", sleep)
    result = CliRunner().invoke(app, ["relabel", "nightly.toml", "--local", "--watch", "30m"])
    printed = " ".join(result.output.split())
    counts = re.findall(r"Labelled (\d) checkpoint", printed)
    assert counts == ["2", "1", "0"], printed
    assert printed.count("The next poll tries again.") == 1
    assert slept == [1800.0] * 4


def test_config_without_checkpoints_and_series_of_others_are_refused(
    config: Config, quick_config: Planted, training: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="whose `checkpoints` names the folder"):
        Poller(quick_config(tmp_path)).poll()
    with pytest.raises(ConfigError, match="`ray-autointerp relabel` labels them"):
        label(config, run_local, Silent())
    Poller(config).poll()
    elsewhere = shutil.copytree(training, tmp_path / "elsewhere")
    sae = config.sae[0].model_copy(update={"checkpoints": str(elsewhere)})
    with pytest.raises(ConfigError, match="The series `nightly` labels the checkpoints in"):
        Poller(config.model_copy(update={"sae": (sae,)})).poll()


def test_checkpoints_in_a_bucket_are_labelled(
    config: Config,
    training: Path,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = open_store(f"s3://{bucket}/training")
    for file in (training / "step_900").iterdir():
        store.put_if_absent(f"step_900/{file.name}", file.read_bytes())
    sae = config.sae[0].model_copy(update={"checkpoints": f"s3://{bucket}/training"})
    polled = Poller(config.model_copy(update={"sae": (sae,)})).poll()
    assert names(polled) == ["nightly-00000-step_900"]
    assert polled.runs[0].config.sae[0].path == f"s3://{bucket}/training/step_900"
