"""Commands that are stopped by Ctrl-C or SIGTERM, as processes of their own."""

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import PATIENCE_S, Command
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


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    made: list[Command] = []

    def start(*arguments: object) -> Command:
        made.append(Command(tmp_path / f"log{len(made)}", *arguments))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def other_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a Ray of someone else's leaves where every Ray looks: `ray start` has been called."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must be short
        noted = Path(folder) / "ray" / "ray_current_cluster"
        noted.parent.mkdir()
        noted.write_text("127.0.0.1:1")
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("other_ray")
@pytest.mark.parametrize("runner", [["--local"], pytest.param([], marks=pytest.mark.ray)])
def test_label_that_is_stopped_twice_leaves_nothing_and_then_ends_as_undisturbed(
    command: Callable[..., Command],
    quick_config: Planted,
    tmp_path: Path,
    contents: Contents,
    runner: list[str],
) -> None:
    folder = tmp_path / "a folder"
    config = quick_config(folder, SLOW)
    uri = f"{folder}/{config.run.name}"
    path = write_toml(config, tmp_path)
    for number, step in ((signal.SIGINT, "top_examples"), (signal.SIGTERM, "explain")):
        stopped = command("label", path, *runner, "--root", folder)
        stopped.wait_for(f"{step} begins")
        said = stopped.stop(number)
        assert said[-1] == stopped.continued_by
        assert driver_of(open_store(uri)) is None, "the lease was given back"
    again = command("label", path, "--local", "--root", folder)
    assert again.process.wait(PATIENCE_S) == 0, again.said
    assert "Waiting" not in again.said
    undisturbed = label(quick_config(tmp_path / "undisturbed", SLOW), run_local, Silent())
    assert contents(uri) == contents(undisturbed.uri)


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
