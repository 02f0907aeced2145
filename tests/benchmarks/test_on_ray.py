"""Benchmarks that start a Ray of their own still run, on toys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray
FOLDER = str(Path(__file__).parents[2] / "jobs" / "benchmarks")


def test_scale_bench_watches_a_whole_run(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, f"{FOLDER}/scale.py", "--cases", "160:0.05", "--sample", "20"]
    subprocess.run(command, check=True)
    (row,) = (json.loads(x) for x in capfd.readouterr().out.splitlines() if x.startswith("{"))
    assert row["latents"] == 160 and row["million_tokens"] == 0.05
    assert {"SubjectWorker", "LLMWorker"} <= row["worker_mb"].keys() and row["driver_mb"] > 0
    assert {"max_act", "output_score", "publish"} <= row["seconds"].keys()


def test_driver_bench_counts_every_task_of_every_worker(capfd: pytest.CaptureFixture[str]) -> None:
    toys = ("--workers", "1", "2", "--seconds", "0.05", "--rounds", "1")
    subprocess.run([sys.executable, f"{FOLDER}/driver.py", *toys], check=True)
    rows = [json.loads(x) for x in capfd.readouterr().out.splitlines() if x.startswith("{")]
    assert [row["workers"] for row in rows] == [1, 2]
    assert all(0 < row["efficiency"] <= 1 and row["driver_ms"] > 0 for row in rows)
