"""Judged by likelihood: the same scores, read from how likely a description makes what it fits."""

import logging
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from asked_by import step_of

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import LLMError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script
from ray_autointerp.pipeline import label
from ray_autointerp.plan.estimate import asked_about
from ray_autointerp.plan.flow import step_named
from ray_autointerp.reports.label_table import basis
from ray_autointerp.runs.answers import paid_by_method
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.store import open_store

Planted = Callable[..., Config]
BY_LIKELIHOOD = {"judged_by": "likelihood", "three_set_methods": []}
JUDGING = ("detection", "output_score", "unseen_tokens", "fuzzing")
ASKED: list[Request] = []


def listening(request: Request) -> Answer:
    ASKED.append(request)
    return planted_script(request)


def rows(run: Run, table: str, method: str = "keywords") -> list[Row]:
    return Tables(run).read(table, "planted", method).to_pylist()


@pytest.fixture(scope="module")
def judged_run(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    changes: dict[str, Any] = {
        "score": BY_LIKELIHOOD,
        "select": {"controls": 6},
        "llm": {"script": f"{__name__}:listening"},
    }
    ASKED.clear()
    return label(quick_config(tmp_path_factory.mktemp("likelihood"), changes), run_local, Silent())


@pytest.mark.parametrize(
    ("table", "column"), [("detection_scores", "auroc"), ("output_scores", "win_rate")]
)
def test_true_descriptions_beat_shuffled_ones(judged_run: Run, table: str, column: str) -> None:
    true, shuffled = (
        [row[column] for row in rows(judged_run, table, method) if row["status"] == "ok"]
        for method in ("keywords", "keywords.shuffled")
    )
    assert len(true) >= 4
    assert fmean(true) > max(0.5, fmean(shuffled)) + 0.2


def test_nothing_else_is_asked_of_the_judge(judged_run: Run) -> None:
    """Every judgement is the log-probability of a given text; the same texts as by choice."""
    judged = [request for request in ASKED if step_of(request) in (*JUDGING, "judge_check")]
    assert judged and all(request.kind == "loglikelihood" for request in judged)
    assert {step_of(request) for request in judged} >= {*JUDGING}


def test_texts_are_those_that_a_choice_is_asked_about(judged_run: Run, quick_run: Run) -> None:
    def shown(run: Run) -> list[tuple[object, ...]]:
        key = ("latent", "number", "kind", "window", "strength")
        return [tuple(row[name] for name in key) for row in rows(run, "detections")]

    assert shown(judged_run) == shown(quick_run)


def asked_and_judged(run: Run, step: str, table: str) -> tuple[int, int]:
    """Requests that were paid for, at most those foreseen, and what was judged by them."""
    paid = paid_by_method(open_store(run.uri), step)
    found = sum(usage.num_requests for (_, method), usage in paid.items() if method == "keywords")
    foreseen, more = asked_about(step_named(step), "keywords", run.config, run.axes)
    assert 0 < found <= foreseen + more
    return found, sum(row["status"] == "ok" for row in rows(run, table))


@pytest.mark.parametrize(("step", "table"), [("detection", "detections"), ("fuzzing", "fuzzings")])
def test_each_text_is_read_with_the_description_and_without(
    judged_run: Run, step: str, table: str
) -> None:
    found, judged = asked_and_judged(judged_run, step, table)
    assert found == 2 * judged


@pytest.mark.parametrize(
    ("step", "table"), [("output_score", "judgements"), ("unseen_tokens", "unseen_judgements")]
)
def test_each_trial_reads_both_sets_after_both_descriptions(
    judged_run: Run, step: str, table: str
) -> None:
    """Trials that share a set and a description read them once."""
    found, judged = asked_and_judged(judged_run, step, table)
    assert 2 * judged < found <= 4 * judged


def test_judge_has_one_known_answer_a_step_and_no_allowed_ones(judged_run: Run) -> None:
    for step in ("detection", "output_score", "unseen_tokens"):
        (row,) = Tables(judged_run).read("judge_check", None, step).to_pylist()
        assert (row["status"], row["allowed"], row["right_answer"]) == ("ok", None, None)
        assert row["log_odds"] > 0
    assert "4 of 4 questions with known answers right, by likelihood." in basis(judged_run)


def lover_of_law(request: Request) -> Answer:
    """Finds whatever is asked for likelier without the description."""
    if request.answer is None:
        return planted_script(request)
    is_known = "not known" not in request.messages[-1].content
    likes = "law" in request.answer
    return Answer("", "stop", answer_logprobs=[float(is_known and likes) - 2.0])


def test_judge_that_is_wrong_is_said_to_be(
    quick_config: Planted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"score": BY_LIKELIHOOD, "llm": {"script": f"{__name__}:lover_of_law"}}
    with caplog.at_level(logging.WARNING):
        run = label(quick_config(tmp_path, changes), run_local, Silent())
    assert "gets a plain question of detection wrong" in caplog.text
    (row,) = Tables(run).read("judge_check", None, "detection").to_pylist()
    assert row["log_odds"] < 0


def no_likelihoods(request: Request) -> Answer:
    return Answer("", "error") if request.answer is not None else planted_script(request)


def test_texts_that_cannot_be_read_have_a_reason_and_no_score(
    quick_config: Planted, tmp_path: Path
) -> None:
    changes = {"score": BY_LIKELIHOOD, "llm": {"script": f"{__name__}:no_likelihoods"}}
    run = label(quick_config(tmp_path, changes), run_local, Silent())
    for table in ("detection_scores", "unseen_scores", "output_scores"):
        assert {row["status"] for row in rows(run, table)} <= {
            "failed",
            "no_evidence",
            "kl_unreached",
            "no_effect_in_text",
        }
    assert {row["status"] for row in rows(run, "detections")} >= {"failed"}


def test_an_endpoint_cannot_judge_so(quick_config: Planted, tmp_path: Path) -> None:
    endpoint = {"backend": "endpoint", "endpoints": ["http://127.0.0.1:1/v1"], "model": "x"}
    changes = {"score": BY_LIKELIHOOD, "judge": endpoint}
    with pytest.raises(LLMError, match=r'judged_by = "likelihood".*backend = "vllm" in \[judge\]'):
        label(quick_config(tmp_path, changes), run_local, Silent())
