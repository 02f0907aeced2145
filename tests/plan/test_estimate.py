"""What `plan` says a run costs is what the run then does."""

from collections.abc import Callable
from typing import Any

import pytest

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import CONTROL_TEXTS
from ray_autointerp.plan.estimate import Line, estimate
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.units import JUDGEMENTS_PER_UNIT, texts_per_latent
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]


@pytest.fixture
def lines(quick_run: Run) -> dict[str, Line]:
    return {line.step: line for line in estimate(quick_run.config, quick_run.axes, 4, 1)}


def test_every_step_has_a_line_in_the_flows_order(quick_run: Run) -> None:
    lines = estimate(quick_run.config, quick_run.axes, 4, 1)
    assert [line.step for line in lines] == [step.name for step in FLOW]
    off = [
        "match",
        "carry_check",
        "control_texts",
        "unsteered_texts",
        "shuffle",
        "intervention_surprisal",
    ]
    assert [line.step for line in lines if not line.num_tasks] == off


def test_controls_are_asked_about_for_their_sample_alone(
    quick_config: Planted, quick_run: Run
) -> None:
    def lines(controls: int, *kinds: str) -> dict[str, Line]:
        changes: dict[str, Any] = {
            "select": {"controls": controls},
            "score": {"control_texts": kinds},
            "describe": {"label_by": "order"},  # controls have no choosing trials
        }
        config = quick_config("x", changes)
        return {line.step: line for line in estimate(config, quick_run.axes, 4, 1)}

    none, some, both = lines(0), lines(4), lines(4, *CONTROL_TEXTS)
    for step in ("write_sentences", "output_score"):
        more = some[step].llm_requests - none[step].llm_requests
        assert more == pytest.approx(none[step].llm_requests * 4 / 6)
    assert some["explain"] == none["explain"]
    assert some["control_texts"].num_tasks == lines(0, *CONTROL_TEXTS)["control_texts"].num_tasks
    assert both["control_texts"].num_tasks == len(CONTROL_TEXTS) * 2  # 4 latents, 3 a shard
    assert both["write_sentences"] == some["write_sentences"]
    score = quick_run.config.score
    trials = 4 * len(score.methods) * len(CONTROL_TEXTS) * score.num_control_units
    more = both["output_score"].llm_requests - some["output_score"].llm_requests
    assert more == trials * JUDGEMENTS_PER_UNIT


def test_requests_are_those_the_run_made(quick_run: Run, lines: dict[str, Line]) -> None:
    """Where evidence exists: latents without any are asked less about, never more."""
    tables, config = Tables(quick_run), quick_run.config
    described = [m for m in config.describe.methods if m != "keywords"]
    asked = sum(
        len((row["prompt_digest"] or "").split("+")) if row["prompt_digest"] else 0
        for method in described
        for row in tables.read("descriptions", "planted", method).to_pylist()
    )
    assert 0.8 * lines["explain"].llm_requests <= asked <= lines["explain"].llm_requests
    judged = sum(
        len(row["answers"] or [])
        for method in config.score.methods
        for row in tables.read("judgements", "planted", method).to_pylist()
    )
    assert 0.8 * lines["output_score"].llm_requests <= judged
    assert judged <= lines["output_score"].llm_requests


def test_texts_are_made_once_whatever_is_scored(quick_run: Run, lines: dict[str, Line]) -> None:
    """Steered text belongs to the latent, not to a description (methods 7, trap 24)."""
    rows = Tables(quick_run).read("completions", "planted").to_pylist()
    per_latent = texts_per_latent(quick_run.config)
    assert len(rows) == len({row["latent"] for row in rows}) * len(per_latent)
    keys = {
        (r["latent"], r["prompt"], r["sign"], round(r["kl_target"], 6), r["draw"]) for r in rows
    }
    assert len(keys) == len(rows)
    assert lines["steering"].subject_tokens == len(rows) * quick_run.config.steering.new_tokens


def test_clamped_tokens_are_counted_for_all_latents_not_for_one(
    planted_config: Planted, quick_run: Run
) -> None:
    def tokens(num_latents: int) -> int:
        changes = {
            "select": {"rule": "sample", "num_latents": num_latents, "panel": 4, "sample": 4}
        }
        lines = estimate(planted_config("x", changes), quick_run.axes, 4, 1)
        return {line.step: line for line in lines}["token_change"].subject_tokens

    evidence = quick_run.config.evidence
    one = 2 * evidence.change_windows * evidence.change_window_tokens
    assert tokens(4) == 4 * one
    assert tokens(40) == 40 * one


@pytest.mark.parametrize(("panel", "sample"), [(4, 6), (6, 4)])
@pytest.mark.parametrize("rule", ["top", "list"])
def test_picks_outside_the_hash_order_are_counted_beside_panel_and_sample(
    planted_config: Planted, quick_run: Run, rule: str, panel: int, sample: int
) -> None:
    """The best latents and the panel may be strangers: the bound is their sum."""
    picks = {"rule": rule, "num_latents": 9, "latents": list(range(9))}
    config = planted_config("x", {"select": {**picks, "panel": panel, "sample": sample}})
    lines = {line.step: line for line in estimate(config, quick_run.axes, 4, 1)}
    assert lines["calibrate"].work.startswith("15 latents")
    assert lines["free_scores"].subject_tokens == 2 * 56
