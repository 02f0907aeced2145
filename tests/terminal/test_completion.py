"""What bash completes, asked through a real bash and the script that the command gives it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_autointerp.reports.label_table import SORT_COLUMNS
from ray_autointerp.runs.run import Run

PROGRAM = """#!{python}
from ray_autointerp.cli import main
main()
"""


def completed(folder: Path, *words: str) -> list[str]:
    """The candidates for the last of these words."""
    program = folder / "bin" / "ray-autointerp"
    program.parent.mkdir(exist_ok=True)
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    script = """
        source <(_RAY_AUTOINTERP_COMPLETE=source_bash ray-autointerp)
        COMP_WORDS=(ray-autointerp "$@")
        COMP_CWORD=$#
        function=$(complete -p ray-autointerp | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function ray-autointerp
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        cwd=folder,
        env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path, quick_run: Run) -> Path:
    """A folder with two runs in it, one deeper than the other, and one that is none."""
    for name in ("runs/first", "runs/more/second"):
        (tmp_path / name).mkdir(parents=True)
        manifest = (Path(quick_run.uri) / "manifest.json").read_bytes()
        (tmp_path / name / "manifest.json").write_bytes(manifest)
    (tmp_path / "runs" / "none").mkdir()
    return tmp_path


def test_commands_and_options(folder: Path) -> None:
    assert completed(folder, "la") == ["label", "labels"]
    assert "--take-over" in completed(folder, "label", "--ta")


@pytest.mark.parametrize(
    ("typed", "runs"),
    [
        ("", ["runs/first", "runs/more/second"]),
        ("ru", ["runs/first", "runs/more/second"]),
        ("runs/f", ["runs/first"]),
        ("./runs/m", ["./runs/more/second"]),
        ("elsewhere", []),
    ],
)
def test_runs(folder: Path, typed: str, runs: list[str]) -> None:
    assert completed(folder, "labels", typed) == runs


def test_second_run(folder: Path) -> None:
    for command in ("compare", "view"):
        assert completed(folder, command, "runs/first", "runs/m") == ["runs/more/second"]


def test_values_of_options(folder: Path, quick_run: Run) -> None:
    line = ("labels", "runs/first")
    assert completed(folder, *line, "--sae", "") == list(quick_run.saes)
    assert completed(folder, *line, "--method", "") == list(quick_run.config.describe.methods)
    assert completed(folder, *line, "--sort", "") == list(SORT_COLUMNS)
    assert completed(folder, *line, "--sort", "in") == ["input_auroc"]
    assert completed(folder, "labels", "runs/none", "--sae", "") == []
