"""Every benchmark still runs, on toys; what it measures there means nothing."""

import importlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.config import Config
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.runs.run import Run

FOLDER = str(Path(__file__).parents[2] / "jobs" / "benchmarks")

Bench = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Run a script's `main` with arguments; the JSON lines it prints."""

    def run(name: str, *arguments: str) -> list[dict[str, Any]]:
        monkeypatch.syspath_prepend(FOLDER)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        importlib.import_module(name).main()
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    return run


def races(rows: list[dict[str, Any]]) -> list[str]:
    return [row["race"] for row in rows if "race" in row]


def test_token_change_races(
    bench: Bench, planted_config: Callable[..., Config], tmp_path: Path
) -> None:
    model = planted_config(tmp_path).subject.model
    small = ("--rounds", "1", "--directions", "2")
    rows = bench("token_change", "--model", model, "--layer", "0", *small)
    assert len(races(rows)) == 1 + 6 + 2
    # Not that it is positive: what is reckoned from differences of times may be anything here.
    assert all(math.isfinite(row["ratio"]) for row in rows if "race" in row)


def test_active_race(bench: Bench, planted_run: Run) -> None:
    rows = bench("token_change_active", planted_run.uri, "--latents", "4", "--rounds", "1")
    assert [row["mode"] for row in rows if "mode" in row] == ["all", "active"]
    assert len(races(rows)) == 2


def test_max_act_race(bench: Bench) -> None:
    rows = bench("max_act", "--tokens", "512", "--rounds", "1")
    assert rows[0]["ratio"] > 0


def test_output_power_of_a_toy(bench: Bench, planted: PlantedTruth, tmp_path: Path) -> None:
    """On the planted model the diffs say all, and the list the one token that matters."""
    small = ("--latents", "5", "--windows", "4", "--jacobian-windows", "4")
    rows = bench("output_power", str(planted.config), "--root", str(tmp_path), *small)
    (found,) = (row for row in rows if "powers" in row)
    assert found["latents"] == 5 and len(found["powers"]) == 4 * 2 * 5
    rates = {
        (p["observer"], p["kl_target"], p["texts_per_set"]): p["win_rate"] for p in found["powers"]
    }
    assert rates["linear observer", 1.0, 12] == 1
    assert 0.7 < rates["list judge", 1.0, 12] < 1
    tokens = list(found["tokens_per_question"].values())
    assert tokens == sorted(tokens) and tokens[0] > 100


def test_gpu_races_on_a_toy(bench: Bench) -> None:
    small = ("--rounds", "1", "--directions", "2", "--latents", "2")
    rows = bench("gpu", "--tiny", *small)
    assert len(races(rows)) == 1 + 6 + 3 + 3 + 1
    profiles = [row["profile"] for row in rows if "profile" in row]
    assert profiles == ["passes", "max_act", "measured"]


def test_our_side_of_the_delphi_race_keeps_every_non_zero(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    importlib.import_module("max_act_delphi").make(tmp_path, 256, 4096)
    small = ("--folder", str(tmp_path), "--tokens", "4096")
    (row,) = bench("max_act_delphi", "--side", "ours", *small)
    assert row["nonzeros"] == 4096 * 32


def test_schedule_bench_drives_every_task(bench: Bench) -> None:
    (whole,) = bench("schedule", "--width", "2048")
    assert whole["num_driven"] == whole["num_tasks"] > 500
    (rest,) = bench("schedule", "--width", "1024", "--saes", "2", "--resume")
    assert 0 < rest["num_driven"] < rest["num_tasks"]


def test_scale_bench_watches_a_whole_run(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, f"{FOLDER}/scale.py", "--cases", "160:0.05"]
    subprocess.run(command, check=True)
    (row,) = (json.loads(x) for x in capfd.readouterr().out.splitlines() if x.startswith("{"))
    assert row["latents"] == 160 and row["million_tokens"] == 0.05
    assert {"SubjectWorker", "LLMWorker"} <= row["worker_mb"].keys() and row["driver_mb"] > 0
    assert {"max_act", "output_score", "publish"} <= row["seconds"].keys()
