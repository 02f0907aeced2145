"""What an LLM cannot or will not answer is a row with a status and the raw answer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.runs.tables import Row, Tables

Planted = Callable[..., Config]


def label_with(script: str, quick_config: Planted, root: Path) -> Callable[..., list[Row]]:
    changes = {"llm": {"script": f"bad_day:{script}"}, "judge_check": {"least_allowed": 0}}
    run = label(quick_config(root, changes), run_local, Silent())
    return lambda table, method=None: Tables(run).read(table, "planted", method).to_pylist()


@pytest.mark.parametrize(
    ("script", "status", "answer"),
    [
        ("garbage", "unreadable", "\x00?? \ufffd"),
        ("refusing", "refused", "I'm sorry, but I can't help with that."),
        ("truncated", "truncated", "responds"),
        ("not_asked", "failed", "the prompt is too long"),
    ],
)
def test_answer_that_is_no_description_is_a_row_with_status_and_answer(
    quick_config: Planted, tmp_path: Path, script: str, status: str, answer: str
) -> None:
    read = label_with(script, quick_config, tmp_path)
    described = read("descriptions", "ensemble_raw")
    assert {row["status"] for row in described} == {status}
    assert all(row["answer"].startswith(answer) for row in described)
    assert all(row["description"] is None for row in described)
    written = read("sentences", "keywords")
    assert {row["status"] for row in written} == {status}
    assert all(row["answer"] for row in written)
    for row in read("labels"):
        assert (row["method"], row["status"]) == ("keywords", "ok"), "what needs no LLM is there"
    for table in ("input_scores", "output_scores"):
        for row in read(table, "ensemble_raw"):
            assert row["status"] != "ok", "a description that is not there has no score"


def test_judge_without_log_probabilities_gives_unreadable_trials_and_no_score(
    quick_config: Planted, tmp_path: Path
) -> None:
    read = label_with("silent_judge", quick_config, tmp_path)
    trials = read("judgements", "keywords")
    assert {row["status"] for row in trials} == {"unreadable"}
    assert all(row["answers"] for row in trials)
    assert all(row["win_rate"] is None for row in read("output_scores", "keywords"))
