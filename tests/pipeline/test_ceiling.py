"""A run whose ceiling is reached stops, whole, and a higher one ends it as if there were none."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from counted import read_back

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config, LLMSection
from ray_autointerp.errors import OverBudget
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.runs.answers import SEGMENT_ANSWERS, spent
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.store import open_store

Planted = Callable[..., Config]


def contents(uri: str) -> dict[str, bytes]:
    """Every table of a run."""
    store = open_store(uri)
    names = [name for part in ("corpus/", "hook/", "sae/") for name in store.list(part)]
    return {name: store.get(name) for name in names}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the counted script writes down what it was asked."""
    path = tmp_path / "log"
    monkeypatch.setenv("COUNTED", str(path))
    return path


def counted(**budget: Any) -> dict[str, dict[str, Any]]:
    return {"llm": {"script": "counted:counted"}, "budget": budget}


def test_run_over_its_ceiling_stops_and_a_higher_one_ends_it_with_the_same_tables(
    quick_config: Planted, counted_run: tuple[Run, Any], tmp_path: Path, log: Path
) -> None:
    unbounded, asked = counted_run
    half = sum(line["num_prompt_tokens"] + line["num_generated_tokens"] for line in asked) // 2
    config = quick_config(tmp_path, counted(max_tokens=half))
    with pytest.raises(OverBudget, match=rf"max_tokens = {half:,} is reached: [\d,]+ tokens spent"):
        label(config, run_local, Silent())
    stopped = len(read_back(log))
    assert 0 < stopped < len(asked)
    with pytest.raises(OverBudget):
        label(config, run_local, Silent())
    assert len(read_back(log)) == stopped, "the same command again spends nothing"
    run = label(quick_config(tmp_path, counted(max_tokens=10**9)), run_local, Silent())
    assert contents(run.uri) == contents(unbounded.uri)
    assert len(read_back(log)) == len(asked), "what was answered was paid for once"
    assert spent(open_store(run.uri)).num_requests == len(asked)


def test_run_killed_late_asks_again_only_what_was_not_written(
    quick_config: Planted, counted_run: tuple[Run, Any], tmp_path: Path, log: Path
) -> None:
    """kill -9 at 85 % of the questions: of one task at a time, less than a segment is unwritten."""
    unbounded, asked = counted_run
    config = quick_config(tmp_path, counted())
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-c", LABEL, str(tmp_path / "config.json")]
    die_at = len(asked) * 85 // 100
    environment = os.environ | {"COUNTED_KILL": str(die_at)}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    kept = spent(open_store(f"{tmp_path}/{config.run.name}")).num_requests
    run = label(config, run_local, Silent())
    assert contents(run.uri) == contents(unbounded.uri)
    assert die_at - kept <= SEGMENT_ANSWERS
    assert len(read_back(log)) - len(asked) == die_at - kept
    questions = Counter(line["key"] for line in asked)
    assert Counter(line["key"] for line in read_back(log)).keys() == questions.keys()


LABEL = """
import sys
from pathlib import Path
from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config, LLMSection
from ray_autointerp.pipeline import label
from ray_autointerp.execution.run_local import run_local
label(Config.model_validate_json(Path(sys.argv[1]).read_text()), run_local, Silent())
"""


def test_finished_table_has_rows_over_budget_and_no_other_failures(
    quick_config: Planted, counted_run: tuple[Run, Any], tmp_path: Path
) -> None:
    half = sum(line["num_prompt_tokens"] for line in counted_run[1]) // 2
    config = quick_config(tmp_path, counted(max_tokens=half, when_reached="finish"))
    run = label(config, run_local, Silent())
    found: Counter[str] = Counter()
    for method in config.score.methods:
        for table in ("descriptions", "sentences", "judgements"):
            found += statuses(run, table, method)
    assert found["over_budget"] > 0
    assert found["unreadable"] == found["failed"] == 0
    assert statuses(run, "labels")["ok"] > 0, "what needs no LLM is there"


def statuses(run: Run, table: str, method: str | None = None) -> Counter[str]:
    rows = Tables(run).read(table, "planted", method).to_pylist()
    return Counter(row["status"] for row in rows)


def test_judge_of_its_own_is_asked_for_judgements_alone(
    quick_config: Planted, quick_run: Run, tmp_path: Path, log: Path
) -> None:
    judge = LLMSection(backend="scripted", script="counted:counted")
    config = quick_config(tmp_path).model_copy(update={"judge": judge})
    run = label(config, run_local, Silent())
    judging = {"judge_check", "detection", "fuzzing", "output_score", "unseen_tokens"}
    assert {line["step"] for line in read_back(log)} == judging
    assert rows(run, "output_scores") == rows(quick_run, "output_scores")


def rows(run: Run, table: str) -> list[Row]:
    return Tables(run).read(table, "planted", "keywords").to_pylist()
