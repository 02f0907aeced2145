"""A judge is asked what anybody knows before it is trusted, once a run and in both orders."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import LLMError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.reports.label_table import basis
from ray_autointerp.runs.answers import paid_by_method
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.store import open_store

Planted = Callable[..., Config]
JUDGING = ("output_score", "unseen_tokens", "detection", "fuzzing")


def checked(run: Run, step: str) -> list[Row]:
    return [dict(row) for row in Tables(run).read("judge_check", None, step).to_pylist()]


def labelled(script: str, quick_config: Planted, root: Path, **changes: Any) -> Run:
    return label(quick_config(root, {"llm": {"script": script}, **changes}), run_local, Silent())


def test_good_judge_has_every_question_right_in_both_orders(quick_run: Run) -> None:
    for step in JUDGING:
        rows = checked(quick_run, step)
        assert len({row["right_answer"] for row in rows}) == len(rows) == 2
        assert [row["answer"] for row in rows] == [row["right_answer"] for row in rows]
        assert all(row["log_odds"] > 0 for row in rows)
        assert all(row["allowed"] == pytest.approx(1) for row in rows)
    assert "8 of 8 questions with known answers right" in basis(quick_run)


def test_it_is_asked_once_a_run_and_billed(quick_run: Run) -> None:
    paid = paid_by_method(open_store(quick_run.uri), "judge_check")
    assert {method: usage.num_requests for (_, method), usage in paid.items()} == dict.fromkeys(
        JUDGING, 2
    )


def test_only_what_the_config_judges_by_is_asked(quick_config: Planted, tmp_path: Path) -> None:
    run = labelled(
        "ray_autointerp.llm.scripted:planted_script",
        quick_config,
        tmp_path,
        score={"num_units": 0, "three_set_methods": [], "fuzzing_texts": 0},
    )
    names = {name.split("/")[1] for name in Tables(run).objects() if "judge_check/" in name[:12]}
    assert names == {"unseen_tokens", "detection"}


def test_judge_that_would_rather_say_something_else_stops_the_run_before_it_is_paid(
    quick_config: Planted, tmp_path: Path
) -> None:
    with pytest.raises(LLMError, match=r"puts 40% of its probability .*least_allowed to 0\.4"):
        labelled("judges:thinking_aloud", quick_config, tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if (path / "manifest.json").exists())
    judged = paid_by_method(open_store(str(folder)))
    assert {step for step, _ in judged} <= {"judge_check", "explain", "write_sentences"}


def test_judge_without_any_allowed_answer_stops_it_too(
    quick_config: Planted, tmp_path: Path
) -> None:
    with pytest.raises(LLMError, match="puts 0% of its probability"):
        labelled("bad_day:silent_judge", quick_config, tmp_path)


def test_config_may_let_it_judge(quick_config: Planted, tmp_path: Path) -> None:
    run = labelled(
        "judges:thinking_aloud", quick_config, tmp_path, judge_check={"least_allowed": 0.3}
    )
    assert checked(run, "detection")[0]["allowed"] == pytest.approx(0.4)


def test_judge_that_prefers_a_place_is_warned_of(
    quick_config: Planted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        labelled("judges:always_first", quick_config, tmp_path)
    warned = [r.getMessage() for r in caplog.records if "wrong" in r.getMessage()]
    assert len(warned) == len(JUDGING) and all("at chance" in text for text in warned)
