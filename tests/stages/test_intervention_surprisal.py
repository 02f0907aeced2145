"""Intervention surprisal on planted truth: true descriptions gain more by steered text than others;
off by default, and refused where no judge can tell it.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from receipts import Kept
from rerun import copied, rewritten

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError, LLMError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script
from ray_autointerp.pipeline import label
from ray_autointerp.plan.controls import shuffled
from ray_autointerp.plan.units import surprisal_units, texts_of
from ray_autointerp.prompts import intervention_surprisal as prompt
from ray_autointerp.reports import compare
from ray_autointerp.reports.run_scores import run_scores
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

Planted = Callable[..., Config]
SAE = "planted"
METHODS = ("token_change", "keywords")
NUM_TRIALS = 4
ON = {"score": {"num_surprisal_trials": 2}}


@pytest.fixture(scope="module")
def run(planted_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The planted run with little beside the score, and two KL targets."""
    changes = {
        "evidence": {"change_modes": ["all"]},
        "select": {
            **{"rule": "sample", "num_latents": 24, "panel": 20, "controls": 20},
        },
        "describe": {"methods": METHODS, "label_by": "order"},
        "score": {
            **{"methods": METHODS, "three_set_methods": [], "control_texts": [], "num_draws": 1},
            **{"num_unseen_trials": 0, "detection_texts": 0, "fuzzing_texts": 0},
            **{"num_units": NUM_TRIALS, "num_surprisal_trials": NUM_TRIALS, "texts_per_set": 3},
        },
        "steering": {"kl_targets": [0.5, 1.0], "num_prompts": 6, "new_tokens": 12},
    }
    return label(planted_config(tmp_path_factory.mktemp("run"), changes), run_local, Silent())


def rows(run: Run, table: str, method: str | None = None) -> list[Row]:
    return Tables(run).read(table, SAE, method).to_pylist()


@pytest.mark.parametrize("method", METHODS)
def test_true_descriptions_gain_more_than_shuffled_ones(run: Run, method: str) -> None:
    """In nats and in nats a token, and `compare` tells both with the lift."""
    lines = {
        line.measure.name: line
        for line in compare.lines(run_scores(run, SAE))
        if line.method == method
    }
    for name in ("intervention_surprisal", "intervention_surprisal_per_token"):
        line = lines[name]
        assert line.floor.num_latents == 20 < line.mean.num_latents
        assert line.floor.mean is not None and line.mean.mean is not None
        assert abs(line.floor.mean) < line.mean.mean / 3
        assert line.lift.mean.interval is not None and line.lift.mean.interval.low > 0
        assert line.lift.wins > 15 > line.lift.losses


@pytest.mark.parametrize("method", [*METHODS, shuffled("keywords")])
def test_trials_are_of_the_published_units_texts_and_unsteered_ones_on_their_prompts(
    run: Run, method: str
) -> None:
    """Each log-probability is the script's for the texts of the tables."""
    steered = {
        (row["latent"], row["prompt"], row["sign"], round(row["kl_target"], 6), row["draw"]): row
        for row in rows(run, "completions")
    }
    unsteered = {(row["prompt"], row["draw"]): row for row in rows(run, "unsteered_texts")}
    described = {row["latent"]: row["description"] for row in rows(run, "descriptions", method)}
    units = {(u.text_set, u.sign, u.kl_target): u for u in surprisal_units(run.config)}
    assert {kl for *_, kl in units} == {0.5, 1.0}

    def told(texts: list[str], answer: str) -> float:
        logprobs = planted_script(Request(prompt.ask(texts), 1, answer=answer)).answer_logprobs
        assert logprobs is not None
        return sum(logprobs)

    trials = rows(run, "surprisal_trials", method)
    assert len(trials) == NUM_TRIALS * len(rows(run, "surprisal_scores", method))
    for row in trials:
        unit = units[row["text_set"], row["sign"], round(row["kl_target"], 6)]
        texts = texts_of(unit, run.config)
        pairs = [
            (steered[row["latent"], *text], unsteered[text.prompt, text.draw]) for text in texts
        ]
        assert all(own["prompt_text"] == other["prompt_text"] for own, other in pairs)
        own, other = ([row["text"] for row in side] for side in zip(*pairs, strict=True))
        description = described[row["latent"]]
        assert row["logprob_steered"] == pytest.approx(told(own, description), rel=1e-6)
        assert row["logprob_unsteered"] == pytest.approx(told(other, description), rel=1e-6)


def test_score_is_the_mean_of_its_trials(run: Run) -> None:
    trials: dict[int, list[Row]] = {}
    for row in rows(run, "surprisal_trials", "keywords"):
        trials.setdefault(row["latent"], []).append(row)
    for row in rows(run, "surprisal_scores", "keywords"):
        own = trials[row["latent"]]
        mean = fmean(one["logprob_steered"] - one["logprob_unsteered"] for one in own)
        assert row["difference"] == pytest.approx(mean, abs=1e-4)
        assert row["difference_per_token"] == pytest.approx(mean / own[0]["num_tokens"], abs=1e-4)
        assert row["num_trials"] == NUM_TRIALS and row["se"] > 0


def test_unsteered_texts_differ_by_prompt_and_draw_alone(run: Run) -> None:
    texts = [row["text"] for row in rows(run, "unsteered_texts")]
    assert len(texts) == len(set(texts)) == 6, "two blocks of three prompts, one draw"


def test_what_is_missing_is_a_status_and_other_trials_count(run: Run, tmp_path: Path) -> None:
    again = copied(run, tmp_path / "run", ["intervention_surprisal", "publish"])
    unmoved, partly, undescribed = [
        row["latent"] for row in rows(run, "surprisal_scores", "keywords")
    ][:3]

    def weak(row: Row) -> Row:
        is_missing = row["latent"] == unmoved or row["latent"] == partly and row["prompt"] == 0
        return row | ({"status": "kl_unreached"} if is_missing else {})

    def silent(row: Row) -> Row:
        return row | ({"status": "lint"} if row["latent"] == undescribed else {})

    rewritten(again, "completions", weak)
    rewritten(again, "descriptions/keywords", silent)
    run_local(again, Silent())
    scores = {row["latent"]: row for row in rows(again, "surprisal_scores", "keywords")}
    assert (scores[unmoved]["status"], scores[unmoved]["num_trials"]) == ("kl_unreached", 0)
    assert scores[unmoved]["difference"] is None
    assert (scores[partly]["status"], scores[partly]["num_trials"]) == ("ok", NUM_TRIALS // 2)
    assert scores[undescribed]["status"] == "no_evidence"
    for row in rows(run, "surprisal_scores", "keywords")[3:]:
        assert scores[row["latent"]] == row


def test_judge_that_tells_no_log_probability_gives_unreadable_trials(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mute(request: Request) -> Answer:
        return Answer("", "stop") if request.answer is not None else planted_script(request)

    monkeypatch.setattr("ray_autointerp.llm.scripted.planted_script", mute)
    again = copied(run, tmp_path / "run", ["intervention_surprisal", "publish"])
    run_local(again, Silent())
    assert {row["status"] for row in rows(again, "surprisal_scores", "keywords")} == {"unreadable"}


def test_it_is_off_by_default_and_a_run_that_switches_it_on_makes_nothing_else(
    quick_config: Planted, tmp_path: Path
) -> None:
    listening: Any = importlib.import_module("listening")
    llm = {"llm": {"script": "listening:noting"}}
    off = label(quick_config(tmp_path, llm), run_local, Silent())
    tables = ("unsteered_texts", "surprisal_trials", "surprisal_scores")
    assert not [table for table in tables if list(Path(off.uri).glob(f"**/{table}"))]
    assert not any("surprisal" in line.measure.name for line in compare.lines(run_scores(off, SAE)))
    listening.ASKED.clear()
    kept = Kept()
    on = label(quick_config(tmp_path, llm | ON), run_local, kept)
    assert on.config.run.parent == off.config.run.name
    assert kept.steps == {"unsteered_texts", "intervention_surprisal", "publish"}
    assert {request.kind for request in listening.ASKED} == {"loglikelihood"}
    assert any("surprisal" in line.measure.name for line in compare.lines(run_scores(on, SAE)))


@pytest.mark.parametrize("judge", ["llm", "judge"])
def test_endpoint_is_refused_in_one_sentence_before_anything_is_written(
    quick_config: Planted, tmp_path: Path, judge: str
) -> None:
    endpoint = {"backend": "endpoint", "model": "m", "endpoints": ["http://127.0.0.1:9/v1"]}
    config = quick_config(tmp_path / "runs", {judge: endpoint, **ON})
    with pytest.raises(LLMError) as refused:
        label(config, run_local, Silent())
    assert str(refused.value) == (
        'score.judged_by = "likelihood" and score.num_surprisal_trials need the log-probability '
        "of a given text, for which the chat protocol of endpoints has no place: set them to "
        '"choice" and 0, or name a judge with backend = "vllm" in [judge].'
    )
    assert not (tmp_path / "runs").exists()


def test_trials_are_at_most_as_many_as_units(quick_config: Planted) -> None:
    with pytest.raises(ConfigError, match="num_surprisal_trials is 5.*num_units is 4"):
        quick_config("x", {"score": {"num_surprisal_trials": 5}})
