"""How busy each pool was, from a ledger written by hand."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from ray_autointerp.config import LLMSection
from ray_autointerp.records.layout import ledger_part, ledger_pools_part
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.reports.ledger import attempts
from ray_autointerp.reports.pool_table import pool_sentence, pool_table, pool_use
from ray_autointerp.reports.status_table import status, status_table
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.parquet import write_table
from ray_autointerp.storage.store import open_store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def tried(step: str, started: float, seconds: float, engine_seconds: float = 0.0) -> dict[str, Any]:
    row = dict.fromkeys(TABLES["ledger"].schema.names, 0)
    texts = {"step": step, "sae": "", "method": "", "outcome": "done", "worker": "", "detail": None}
    times = {"started": at(started), "seconds": seconds, "engine_seconds": engine_seconds}
    return row | texts | times


def period(pool: str, started: float, seconds: float, worker_seconds: float) -> dict[str, Any]:
    times = {"seconds": seconds, "worker_seconds": worker_seconds}
    return {"pool": pool, "started": at(started), **times}


@pytest.fixture
def driven(quick_run: Run, tmp_path: Path) -> Run:
    """Two minutes on Ray, after some time without."""
    copytree(quick_run.uri, tmp_path / "run")
    store = open_store(str(tmp_path / "run"))
    for name in store.list("ledger/"):
        store.delete(name)
    written: dict[str, tuple[Callable[[str, int], str], list[list[dict[str, Any]]]]] = {
        "ledger_pools": (
            ledger_pools_part,
            [
                [period("subject", 0, 60, 120), period("llm", 0, 60, 60)],
                [period("subject", 60, 60, 60), period("llm", 60, 60, 180)],
            ],
        ),
        "ledger": (
            ledger_part,
            [
                [tried("max_act", -50, 40), tried("max_act", 0, 45)],
                [tried("explain", 10, 99, 30), tried("output_score", 70, 99, 90)],
            ],
        ),
    }
    for table, (name_of, parts) in written.items():
        schema = TABLES[table].schema
        for number, rows in enumerate(parts):
            made = pa.Table.from_pylist(rows, schema=schema)
            write_table(store, name_of("writer", number), made, schema, {})
    return load_run(str(tmp_path / "run"))


def test_busy_share_is_of_the_time_in_which_workers_had_their_places(driven: Run) -> None:
    subject, llm = pool_use(driven)
    assert (subject.pool, subject.num_workers, subject.busy_share) == ("subject", 1.5, 45 / 180)
    assert (llm.pool, llm.num_workers, llm.busy_share) == ("llm", 2.0, 120 / 240)


def test_judge_of_its_own_is_a_pool_of_its_own(driven: Run) -> None:
    judge = LLMSection(backend="scripted", script="a:b")
    config = driven.config.model_copy(update={"judge": judge})
    _, llm = pool_use(Run(config, driven.axes, driven.uri))
    assert llm.busy_seconds == 30, "what judges is not the explainer's"


def test_it_is_shown_as_a_table_and_in_the_status(driven: Run) -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(pool_table(pool_use(driven)))
    console.print(status_table(status(driven)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "subject" in shown and "25%" in shown
    assert "Workers on average: subject 1.5 (25% busy), llm 2.0 (50% busy)" in shown


def test_attempts_are_read_as_before(driven: Run) -> None:
    assert {row["step"] for row in attempts(driven)} == {"max_act", "explain", "output_score"}


def test_run_without_pools_has_nothing_to_say(quick_run: Run) -> None:
    assert pool_use(quick_run) == [] and pool_sentence([]) == ""
