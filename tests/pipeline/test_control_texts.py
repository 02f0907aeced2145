"""Texts that no latent made, in the place of a latent's own, through the flow: no description wins
more than half with them, and a judge that likes such texts is recognised. And the
texts of the decoder-nearest latents, in the place of the partner's."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from rerun import copied

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.plan.controls import CONTROL_TARGETS, CONTROL_TEXTS, shuffled
from ray_autointerp.plan.units import control_texts_per_latent
from ray_autointerp.reports import compare
from ray_autointerp.reports.run_scores import run_scores
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.stages.publish import publish_labels

SAE = "planted"
METHODS = ("token_change", "keywords")
OPPONENTS = ("partner", "stranger")
NUM_CONTROLS, KL = 40, 0.5
"""Random directions do not move the planted model much further."""


@pytest.fixture(scope="module")
def run(planted_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The planted run with little beside the output score."""
    changes = {
        "evidence": {"change_modes": ["all"]},
        "select": {
            **{"rule": "sample", "num_latents": NUM_CONTROLS + 4},
            **{"panel": NUM_CONTROLS, "controls": NUM_CONTROLS},
        },
        "describe": {"methods": METHODS},
        "score": {
            **{
                "methods": METHODS,
                "three_set_methods": [],
                "num_draws": 1,
                "num_units": 20,
                "num_control_units": 20,
            },
            **{"num_unseen_trials": 0, "detection_texts": 0, "fuzzing_texts": 0},
        },
        "steering": {"kl_targets": [KL], "new_tokens": 12},
    }
    return label(planted_config(tmp_path_factory.mktemp("run"), changes), run_local, Silent())


def rows(run: Run, table: str, method: str | None = None) -> list[Row]:
    return Tables(run).read(table, SAE, method).to_pylist()


def control_sample(run: Run) -> set[int]:
    return {row["latent"] for row in rows(run, "selection") if row["control"]}


def test_control_texts_are_on_the_prompts_and_draws_and_at_the_kl_of_steered_ones(
    run: Run, planted: PlantedTruth
) -> None:
    def key(row: Row) -> tuple[int, int, int, float, int]:
        number = round(row["kl_target"], 6)
        return row["latent"], row["prompt"], row["sign"], number, row["draw"]

    nearest = {row["latent"]: row["neighbours"][0]["latent"] for row in rows(run, "neighbours")}
    wanted = {
        (n, *text) for n in control_sample(run) for text in control_texts_per_latent(run.config)
    }
    own = {key(row): row for row in rows(run, "completions")}
    shares = {}
    for kind in CONTROL_TEXTS:
        found = {key(row): row for row in rows(run, "control_texts", kind)}
        assert found.keys() == wanted
        reached = {k: row for k, row in found.items() if row["status"] == "ok"}
        assert len(reached) > 0.9 * len(found)
        for k, row in reached.items():
            assert row["prompt_text"] == own[k]["prompt_text"] and len(row["token_ids"]) <= 12
            if kind != "unsteered":
                assert row["clamp_value"] > 0
                assert row["kl_reached"] == pytest.approx(KL, rel=0.0501)
            else:
                assert row["clamp_value"] is None and row["kl_reached"] is None
        assert len({tuple(row["token_ids"]) for row in reached.values()}) > 0.95 * len(reached)
        shares[kind] = fmean(planted.effects[k[0]] in row["text"] for k, row in reached.items())
        if kind == "neighbour":
            theirs = {k: planted.effects[nearest[k[0]]] for k in reached}
            assert fmean(theirs[k] in row["text"] for k, row in reached.items()) > 0.8
    assert max(shares.values()) < 0.2
    assert fmean(planted.effects[k[0]] in own[k]["text"] for k in wanted) > 0.8


def test_control_trials_are_the_ordinary_ones_with_another_text_and_in_no_score(run: Run) -> None:
    nearest = {row["latent"]: row["neighbours"][0]["latent"] for row in rows(run, "neighbours")}
    for method in METHODS:
        judged = rows(run, "judgements", method)
        ordinary = {
            (row["latent"], row["text_set"]): row
            for row in judged
            if row["kind"] == "two_set" and not row["choosing"]
        }
        for kind in CONTROL_TEXTS:
            trials = [row for row in judged if row["kind"] == kind]
            assert {(t["latent"], t["text_set"]) for t in trials} == {
                key for key in ordinary if key[0] in control_sample(run)
            }
            for trial in trials:
                same = ordinary[trial["latent"], trial["text_set"]]
                assert not trial["choosing"]
                if trial["status"] == "ok":
                    is_nearest = kind == "neighbour"
                    for column in ("sign", "kl_target", *(() if is_nearest else OPPONENTS)):
                        assert trial[column] == same[column]
                    if is_nearest:
                        assert trial["partner"] == nearest[trial["latent"]] != trial["stranger"]
        for row in rows(run, "output_scores", method):
            own = [t for t in ordinary.values() if t["latent"] == row["latent"]]
            wins = [t["win"] for t in own if t["status"] == "ok"]
            assert row["num_units"] == len(wins)
            assert row["win_rate"] == pytest.approx(fmean(wins))
        kinds = {row["kind"] for row in rows(run, "judgements", shuffled(method))}
        assert kinds == {"two_set"}


def test_descriptions_win_half_with_control_texts_and_nearly_all_with_their_own(run: Run) -> None:
    scores = run_scores(run, SAE)
    found = {kind: t for kind, name, t in compare.control_text_tests(scores) if name == compare.ALL}
    assert {kind: test.verdict for kind, test in found.items()} == dict.fromkeys(
        CONTROL_TARGETS, "at chance"
    )
    assert all(test.num_trials > 1500 for test in found.values())
    assert compare.off_chance_sentence(run) is None
    for method in METHODS:
        assert fmean(scores.get(method, "output_win_rate").values_N) > 0.9
    against = {method: mean.mean for method, mean, _ in compare.against_nearest(scores)}
    assert against.keys() == set(METHODS) and all(mean > 0.9 for mean in against.values())


@pytest.mark.parametrize(("judge", "side"), [("consistent", -1), ("varied", 1)])
def test_judge_that_likes_or_dislikes_unsteered_text_is_told_apart(
    run: Run, tmp_path: Path, judge: str, side: int
) -> None:
    """It reads no description: its wins are at chance, its picks are far from a fair judge's."""
    changes = {"llm": {"script": f"judges:{judge}"}, "score": {"methods": ("keywords",)}}
    again = copied(run, tmp_path / judge, ("output_score", "publish"), **changes)
    run_local(again, Silent())
    publish_labels(again, SAE)
    scores = run_scores(again, SAE)
    for _, _, test in compare.control_text_tests(scores):
        assert test.rate == pytest.approx(0.5, abs=0.07), "four standard errors of its noise"
    picked = compare.picks(scores, "unsteered").mean
    fair = compare.picks(run_scores(run, SAE), "unsteered").mean
    assert picked is not None and fair is not None
    assert 0.35 < fair < 0.65 and side * (picked - fair) > 0.25
