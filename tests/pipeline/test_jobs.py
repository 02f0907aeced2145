"""Runs as jobs of a real Ray cluster: submitted, refused, stopped, continued."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from cli_process import Command
from ports import free_port
from toml_file import write_toml

from ray_autointerp.cluster.jobs import Jobs
from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ClusterError, ConfigError, RunIsDriven
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.reports.status_table import status
from ray_autointerp.runs.manifest import load_run

Planted = Callable[..., Config]
FEW = {
    "describe": {"methods": ["max_act", "keywords"]},
    "score": {"methods": ["max_act", "keywords"], "num_units": 0, "three_set_methods": []},
}
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray of its own, with a dashboard."""
    programs = Path(sys.executable).parent
    port, dashboard = free_port(), free_port()
    folder = Path("/tmp") / f"ray_jobs_{os.getpid()}"  # a socket's path must be short
    command = [
        *(programs / "ray", "start", "--head", f"--port={port}", f"--dashboard-port={dashboard}"),
        f"--dashboard-agent-listen-port={free_port()}",  # another Ray may have the usual one
        *("--num-cpus=6", "--object-store-memory=100000000", f"--temp-dir={folder}", "--block"),
    ]
    path = f"{programs}:{os.environ['PATH']}"  # so that jobs find this Python
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PATH": path},
    )
    url = f"http://127.0.0.1:{dashboard}"
    for _ in range(120):
        try:
            Jobs(url)
            break
        except ClusterError:
            time.sleep(0.5)
    yield url
    process.kill()
    process.wait()
    for other in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in " ".join(other.cmdline()):
                other.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: PlantedTruth) -> Path:
    """The current directory, with nothing in it but the config that is submitted."""
    folder = tmp_path / "submitted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_job_is_submitted_once_stopped_and_continued(
    quick_config: Planted,
    address: str,
    in_a_folder: Path,
    tmp_path: Path,
    contents: Callable[[str], dict[str, str]],
) -> None:
    """Who follows it may leave it by Ctrl-C: it goes on until it is stopped."""
    config = quick_config(tmp_path / "runs", FEW)
    path, jobs = write_toml(config, in_a_folder), Jobs(address)
    uri = f"{tmp_path}/runs/{config.run.name}"
    following = Command(tmp_path / "log", "submit", path.name, "--address", address, "--follow")
    following.wait_for(" begins")
    said = following.stop(signal.SIGINT)
    assert said[0] == "planted: latents of planted (all), as a job."
    assert said[-1] == (
        f"The job planted-a1 goes on; end it with: ray-autointerp stop {uri} --address {address}"
    )
    with pytest.raises(RunIsDriven, match="is being driven by the job planted-a1"):
        jobs.submit(path, config)
    assert jobs.stop(uri) == "planted-a1"
    assert jobs.stop(uri) is None
    stopped = status(load_run(uri))
    assert not stopped.is_finished and (stopped.driver is None or stopped.driver.is_known_dead)
    assert jobs.submit(path, config) == "planted-a2"
    assert jobs.follow("planted-a2")
    undisturbed = label(quick_config(tmp_path / "local", FEW), run_local, Silent())
    assert contents(uri) == contents(undisturbed.uri)


def test_job_whose_results_would_be_deleted_with_it_is_refused(
    quick_config: Planted, address: str, in_a_folder: Path, tmp_path: Path
) -> None:
    config = quick_config("runs")
    with pytest.raises(ConfigError, match="lies in the job's own folder and is deleted with it"):
        Jobs(address).submit(write_toml(config, in_a_folder), config)
    config = quick_config(tmp_path)
    with pytest.raises(ConfigError, match="does not lie in the current directory"):
        Jobs(address).submit(write_toml(config, tmp_path), config)


def test_cluster_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at .*give --address"):
        Jobs(f"http://127.0.0.1:{free_port()}")
