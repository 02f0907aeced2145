"""The exit codes that the help names, of processes; 130 and 143: tests/pipeline/test_stopped.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from ray_autointerp.runs.run import Run


def ended(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ray_autointerp.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_0_is_done(quick_run: Run) -> None:
    done = ended("status", quick_run.uri)
    assert (done.returncode, done.stderr) == (0, "")


def test_1_is_left_undone(tmp_path: Path) -> None:
    """A store that does not work is found; nothing that was asked for is wrong."""
    (tmp_path / "file").touch()
    found = ended("doctor", "--root", str(tmp_path / "file"), "--model", "")
    assert found.returncode == 1 and "no  " in found.stdout, found.stdout


@pytest.mark.parametrize("arguments", [("label", "none.toml"), ("label",), ("labels", "x", "--no")])
def test_2_is_for_you_to_mend(arguments: tuple[str, ...]) -> None:
    refused = ended(*arguments)
    assert refused.returncode == 2
    assert refused.stderr and "Traceback" not in refused.stderr
