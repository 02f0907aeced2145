"""Names: scored alone, shown for what they are, and never a label. On the planted model the name
has both words of its latent, so it wins; another latent's does not."""

from pathlib import Path
from statistics import fmean

import pytest
from rerun import copied, rewritten

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.methods.intervals import wilson_interval
from ray_autointerp.models.planted import PlantedTruth, write_planted
from ray_autointerp.pipeline import label
from ray_autointerp.plan.controls import is_control, shuffled
from ray_autointerp.reports.label_table import basis
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

SAE = "planted"
METHODS = ("name", "named_keywords", "max_act", "keywords")
"""The name comes first: whoever takes it for a label takes it always."""
SCORED = ("name", "keywords")


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PlantedTruth:
    """Every latent promotes a family of words: there are tokens that no evidence shows."""
    folder = tmp_path_factory.mktemp("families")
    return write_planted(folder, num_latents=20, num_dead=2, family=60)


@pytest.fixture(scope="module")
def run(truth: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Run:
    raw = read_config(truth.config).model_dump(mode="json")
    raw["run"]["root"] = str(tmp_path_factory.mktemp("names"))
    raw["evidence"] |= {"change_modes": ["all"]}
    raw["select"] |= {"rule": "sample", "num_latents": 12, "panel": 12, "controls": 12}
    raw["describe"]["methods"] = METHODS
    raw["score"] |= {"methods": SCORED, "three_set_methods": [], "num_units": 4, "num_draws": 1}
    raw["steering"] |= {"num_prompts": 4, "new_tokens": 8, "kl_targets": [0.5]}
    return label(parse_config(raw, truth.config), run_local, Silent())


def rows(run: Run, table: str, method: str | None = None) -> list[Row]:
    return Tables(run).read(table, SAE, method).to_pylist()


def chosen(run: Run) -> list[Row]:
    return [row for row in rows(run, "labels") if row["chosen"]]


def test_a_name_is_no_label_and_has_no_choosing_trials(run: Run) -> None:
    assert {row["method"] for row in rows(run, "labels")} <= {"named_keywords", "keywords"}
    for row in rows(run, "choices"):
        assert "name" not in {one["method"] for one in row["candidates"]}
        assert row["runner_up"] != "name"
    for table in ("judgements", "unseen_judgements"):
        assert {row["choosing"] for row in rows(run, table, "keywords")} == {True, False}
        assert {row["choosing"] for row in rows(run, table, "name")} == {False}
    draws = {row["draw"] for row in rows(run, "sentences", "name")}
    assert draws == set(range(run.config.score.num_draws))


def test_by_order_a_name_is_passed_over_too(run: Run, tmp_path: Path) -> None:
    again = copied(run, tmp_path / "run", ["publish"], describe={"label_by": "order"})
    run_local(again, Silent())
    assert {row["method"] for row in chosen(again)} == {"named_keywords"}


def test_labels_have_the_name_whatever_they_are_by_and_what_it_won(
    run: Run, truth: PlantedTruth
) -> None:
    wins: dict[int, list[float]] = {row["latent"]: [] for row in chosen(run)}
    for table in ("judgements", "unseen_judgements"):
        for trial in rows(run, table, "name"):
            if trial["status"] == "ok" and not is_control(trial.get("kind")):
                wins[trial["latent"]].append(trial["win"])
    assert all(wins.values())
    described = {row["latent"]: row for row in rows(run, "descriptions", "name")}
    for row in rows(run, "labels"):
        latent = row["latent"]
        if not row["chosen"]:
            assert row["name"] is row["name_win_rate"] is row["name_win_rate_low"] is None
            continue
        assert row["name"] == f"{truth.triggers[latent]} and {truth.effects[latent]}"
        assert described[latent]["description"] == row["name"]
        assert row["name_win_rate"] == pytest.approx(fmean(wins[latent]))
        expected = wilson_interval(fmean(wins[latent]), len(wins[latent]))
        assert row["name_win_rate_low"] == pytest.approx(expected.low)
        assert row["name_win_rate_high"] == pytest.approx(expected.high)


def test_true_names_win_and_shuffled_ones_are_at_the_floor(run: Run) -> None:
    def mean(table: str, column: str, method: str) -> float:
        return fmean(r[column] for r in rows(run, table, method) if r["status"] == "ok")

    for table, column in (("output_scores", "win_rate"), ("unseen_scores", "win_rate")):
        assert mean(table, column, "name") > 0.85
        assert 0.2 < mean(table, column, shuffled("name")) < 0.8
    for column in ("auroc", "average_precision"):
        assert mean("input_scores", column, "name") > 0.9
        assert mean("input_scores", column, shuffled("name")) < 0.65


def test_one_name_for_every_latent_is_too_broad(run: Run, tmp_path: Path) -> None:
    """As good for the stranger as for the latent."""
    assert "Of 12 names 0 are too broad" in basis(run)
    again = copied(run, tmp_path / "run", ["output_score", "unseen_tokens", "publish"])
    rewritten(again, "descriptions/name", lambda row: row | {"description": "some words"})
    run_local(again, Silent())
    for row in chosen(again):
        assert row["name_win_rate"] == 0.5
        assert row["name_win_rate_low"] < 0.5 < row["name_win_rate_high"]
    assert "Of 12 names 12 are too broad" in basis(again)


def test_names_that_are_not_scored_have_no_win_rate(run: Run, tmp_path: Path) -> None:
    again = copied(run, tmp_path / "run", ["publish"], score={"methods": ("keywords",)})
    run_local(again, Silent())
    assert all(row["name"] and row["name_win_rate"] is None for row in chosen(again))
    assert "broad" not in basis(again)
