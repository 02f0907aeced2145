"""Commands that are stopped by Ctrl-C or SIGTERM, as processes of their own."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from toml_file import write_toml

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.runs.lease import driver_of
from ray_autointerp.storage.store import open_store

Planted = Callable[..., Config]
Contents = Callable[[str], dict[str, str]]
SLOW = {"llm": {"script": "bad_day:slow"}}
PATIENCE_S = 240


class Command:
    """`ray-autointerp` with these arguments, and what it has printed so far."""

    def __init__(self, log: Path, *arguments: object, **environment: str) -> None:
        self._log = log
        self.arguments = [str(argument) for argument in arguments]
        entry = "from ray_autointerp.cli import main; main()"
        with log.open("w") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-c", entry, *self.arguments],
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=os.environ | {"COLUMNS": "400"} | environment,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, *words: str) -> None:
        """Until it has said all of them."""
        until = time.monotonic() + PATIENCE_S
        while not all(word in self.said for word in words):
            assert self.process.poll() is None, f"it ended before {words}: {self.said}"
            assert time.monotonic() < until, self.said
            time.sleep(0.02)

    def stop(self, number: signal.Signals) -> list[str]:
        """Its last lines, once a signal has ended it and every process that it had started."""
        others = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        assert self.process.wait(60) == 128 + number, self.said
        _, alive = psutil.wait_procs(others, timeout=30)
        assert not alive, "whatever it started has ended with it"
        assert "Traceback" not in self.said and "Error" not in self.said, self.said
        return self.said.splitlines()

    @property
    def continued_by(self) -> str:
        command = shlex.join(["ray-autointerp", *self.arguments])
        return f"Stopped. What is finished is kept; continue with: {command}"


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    made: list[Command] = []

    def start(*arguments: object, **environment: str) -> Command:
        made.append(Command(tmp_path / f"log{len(made)}", *arguments, **environment))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def stopped_twice(
    command: Callable[..., Command],
    config: Config,
    tmp_path: Path,
    *runner: str,
    **environment: str,
) -> tuple[Path, Path]:
    """The config's file and the root of its run, which Ctrl-C and then SIGTERM have stopped."""
    folder = tmp_path / "a folder"
    path = write_toml(config, tmp_path)
    for number, step in ((signal.SIGINT, "top_examples"), (signal.SIGTERM, "explain")):
        stopped = command("label", path, *runner, "--root", folder, **environment)
        stopped.wait_for(f"{step} begins")
        said = stopped.stop(number)
        assert said[-1] == stopped.continued_by
        uri = f"{folder}/{config.run.name}"
        assert driver_of(open_store(uri)) is None, "the lease was given back"
    return path, folder


@pytest.mark.timeout(600)
def test_label_that_is_stopped_twice_leaves_nothing_and_then_ends_as_undisturbed(
    command: Callable[..., Command], quick_config: Planted, tmp_path: Path, contents: Contents
) -> None:
    config = quick_config(tmp_path / "undisturbed", SLOW)
    path, folder = stopped_twice(command, config, tmp_path, "--local")
    again = command("label", path, "--local", "--root", folder)
    assert again.process.wait(PATIENCE_S) == 0, again.said
    assert "Waiting" not in again.said
    undisturbed = label(config, run_local, Silent())
    assert contents(f"{folder}/{config.run.name}") == contents(undisturbed.uri)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_label_on_ray_that_is_stopped_twice_leaves_nothing(
    command: Callable[..., Command], quick_config: Planted, tmp_path: Path
) -> None:
    """Beside a Ray of someone else's, which `ray start` has left on this machine."""
    config = quick_config(tmp_path, SLOW)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must be short
        other = Path(folder) / "ray" / "ray_current_cluster"
        other.parent.mkdir()
        other.write_text("127.0.0.1:1")
        stopped_twice(command, config, tmp_path, RAY_TMPDIR=folder)


def test_second_ctrl_c_ends_at_once_what_takes_long_to_leave(
    command: Callable[..., Command], quick_config: Planted, tmp_path: Path
) -> None:
    """An LLM whose last answer takes a minute holds the first Ctrl-C up."""
    config = quick_config(tmp_path, {"llm": {"script": "slow_answers:lingering"}})
    stopped = command("label", write_toml(config, tmp_path), "--local")
    stopped.wait_for("lingers")
    stopped.process.send_signal(signal.SIGINT)
    stopped.wait_for("still lingers")
    time.sleep(1)  # two signals at the same moment are one press
    stopped.process.send_signal(signal.SIGINT)
    assert stopped.process.wait(30) == 130
    assert "Traceback" not in stopped.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_relabel_that_watches_ends_quietly(
    command: Callable[..., Command],
    quick_config: Planted,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    config = quick_config(tmp_path)
    half = tmp_path / "checkpoints" / "step_1"
    half.mkdir(parents=True)
    (half / "cfg.json").write_text("{}")
    raw = config.model_dump(mode="json", exclude_none=True)
    raw["sae"][0] |= {"path": None, "checkpoints": str(tmp_path / "checkpoints")}
    path = write_toml(Config.model_validate(raw), tmp_path)
    watching = command("relabel", path, "--local", "--watch", "1h")
    watching.wait_for("Labelled 0 checkpoint(s)")
    assert watching.stop(number)[-1] == watching.continued_by
