"""What the output score must not reward: biased judges, texts that give themselves away, latents
whose text says nothing. Through the flow, from the planted run's own texts and descriptions."""

from pathlib import Path
from statistics import fmean

import pytest
from chance import is_at_chance
from rerun import copied, rewritten

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

SAE = "planted"
JUDGED = ("output_score", "publish")
METHODS = ("ensemble_raw", "keywords")


def rows(run: Run, table: str, method: str | None = None) -> list[Row]:
    return Tables(run).read(table, SAE, method).to_pylist()


@pytest.mark.parametrize("judge", ["consistent", "longest", "leaning", "always_first"])
def test_judge_that_reads_no_description_is_at_chance(
    planted_run: Run, tmp_path: Path, judge: str
) -> None:
    """However strong its opinion of the sets; of one latent, the count of right is far off."""
    changes = {"llm": {"script": f"judges:{judge}"}, "score": {"methods": METHODS}}
    run = copied(planted_run, tmp_path / judge, JUDGED, **changes)
    run_local(run, Silent())
    judged = [row for method in METHODS for row in rows(run, "judgements", method)]
    trials = [row for row in judged if row["kind"] == "two_set"]
    assert len(trials) > 1000 and {row["status"] for row in trials} == {"ok"}
    wins = [row["win"] for row in trials]
    assert is_at_chance(fmean(wins), len(wins))
    assert {abs(row["log_odds"]) > 0 for row in trials} == {judge != "always_first"}
    if judge in ("consistent", "longest"):
        scores = [row for method in METHODS for row in rows(run, "output_scores", method)]
        assert fmean(abs(row["share_right"] - 0.5) > 0.25 for row in scores) > 0.3


def test_partners_text_made_at_half_the_kl_is_flagged_and_not_judged(
    planted_run: Run, tmp_path: Path
) -> None:
    before = rows(planted_run, "judgements", "ensemble_raw")
    leaky = next(row["partner"] for row in before if row["kind"] == "two_set")
    run = copied(planted_run, tmp_path / "run", JUDGED)

    def at_half(row: Row) -> Row:
        is_leaky = row["latent"] == leaky and row["prompt"] == 0
        return row | ({"kl_reached": row["kl_reached"] / 2} if is_leaky else {})

    rewritten(run, "completions", at_half)
    run_local(run, Silent())
    blocks = run.config.steering.num_prompts // run.config.score.texts_per_set
    flagged = set()
    for old, new in zip(before, rows(run, "judgements", "ensemble_raw"), strict=True):
        if old["kind"] == "random_direction":
            continue  # the planted model is not moved that far
        assert old["status"] == "ok" and old["partner"] == new["partner"]
        if old["kind"] == "three_set":
            is_shown = leaky in (old["latent"], old["partner"], old["stranger"])
        else:
            steered = {"two_set": ("latent", "partner"), "neighbour": ("latent",)}
            shown = {old[side] for side in steered.get(old["kind"], ("partner",))}
            is_shown = leaky in shown and old["text_set"] % blocks == 0
        assert new["status"] == ("unequal_treatment" if is_shown else "ok")
        assert (new["answers"] is None) == (new["right"] is None) == is_shown
        flagged |= {new["kind"]} if is_shown else set()
    assert flagged == {"two_set", "three_set", "unsteered", "neighbour"}


def test_latent_whose_diffs_are_anothers_has_no_effect_in_text_and_the_judge_is_not_asked(
    planted_run: Run, tmp_path: Path
) -> None:
    """Two latents of the planted run with each other's exact logit diffs; the rest is untouched."""
    pair = [row["latent"] for row in rows(planted_run, "selection") if row["panel"]][:2]
    change = {
        row["latent"]: row["mean_change"]
        for row in rows(planted_run, "held_out_change")
        if row["strength"] == "steering"
    }
    steps = ("output_ceiling", *JUDGED)
    run = copied(planted_run, tmp_path / "run", steps)

    def swapped(row: Row) -> Row:
        if row["latent"] in pair and row["strength"] == "steering":
            return row | {"mean_change": change[sum(pair) - row["latent"]]}
        return row

    rewritten(run, "held_out_change", swapped)
    run_local(run, Silent())
    for row in rows(run, "output_ceilings"):
        assert row["num_sets"] == run.config.score.num_units
        at_chance = row["ceiling"] < row["null_quantile"]
        assert at_chance == (row["latent"] in pair)
        assert row["status"] == ("no_effect_in_text" if at_chance else "ok")
    for method in METHODS:
        for row in rows(run, "output_scores", method):
            is_said = row["status"] == "no_effect_in_text"
            assert is_said == (row["latent"] in pair)
        for row in rows(run, "judgements", method):
            if row["kind"] == "unsteered":
                assert row["answers"] is not None, "its own text is not shown"
            elif row["kind"] != "random_direction":
                assert (row["answers"] is None) == (row["latent"] in pair)
    ceilings = {row["latent"]: row["ceiling"] for row in rows(run, "output_ceilings")}
    published = {row["latent"]: row["output_ceiling"] for row in rows(run, "labels")}
    assert published == ceilings, "a label's ceiling is told, whatever the status"
