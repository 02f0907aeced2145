"""Labels are carried over to a later checkpoint where they still hold, and nowhere else."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.runs.ledger import labelled_on
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

Planted = Callable[..., Config]
SAE = "planted"
BORN, ELSEWHERE = 3, 4
ALL: dict[str, dict[str, Any]] = {
    "describe": {"methods": ["keywords", "max_act"]},
    "score": {
        "methods": ["keywords", "max_act"],
        "num_units": 0,
        "num_choosing_units": 0,
        "num_unseen_trials": 0,
        "three_set_methods": [],
    },
    "select": {"rule": "all", "panel": 4, "sample": 5, "controls": 0},
}
SCORES = ("input_auroc", "input_difference", "detection_auroc", "fuzzing_auroc", "margin")


@dataclass(frozen=True)
class Later:
    """A later checkpoint: the first latents are new, the next ones write as before and fire on
    another's word, the rest have only moved to other places.
    """

    folder: Path
    olds: list[int]
    """By latent, which latent of the first checkpoint it is; -1 for a birth."""


@pytest.fixture(scope="module")
def later(planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Later:
    folder = tmp_path_factory.mktemp("later") / "sae"
    shutil.copytree(planted.folder / "sae", folder)
    weights = load_file(folder / "sae_weights.safetensors")
    draws = torch.Generator().manual_seed(5)
    order = torch.randperm(len(weights["W_dec"]), generator=draws)
    # Dead ones go last: each that comes first fires on a word of the corpus.
    order = torch.tensor(
        [*(i for i in order.tolist() if planted.is_alive(i)), *range(planted.num_alive, len(order))]
    )
    moved = {name: tensor.clone() for name, tensor in weights.items()}
    moved["W_dec"], moved["W_enc"] = weights["W_dec"][order], weights["W_enc"][:, order]
    born = torch.randn(BORN, moved["W_dec"].shape[1], generator=draws)
    moved["W_dec"][:BORN] = born / born.norm(dim=-1, keepdim=True)
    elsewhere = slice(BORN, BORN + ELSEWHERE)
    moved["W_enc"][:, elsewhere] = moved["W_enc"][:, elsewhere].roll(1, dims=1)
    for name in ("b_enc", "threshold"):
        if name in weights:
            moved[name] = weights[name][order]
    save_file({n: t.contiguous() for n, t in moved.items()}, folder / "sae_weights.safetensors")
    return Later(folder, [-1] * BORN + order[BORN:].tolist())


def config_of(
    quick_config: Planted,
    root: Path,
    name: str,
    parent: str | None,
    path: Path,
    match: dict[str, Any],
    **changes: dict[str, Any],
) -> Config:
    config = quick_config(root, {**ALL, "match": match, **changes})
    run = config.run.model_copy(update={"name": name, "parent": parent})
    sae = config.sae[0].model_copy(update={"path": str(path)})
    return config.model_copy(update={"run": run, "sae": (sae,)})


@pytest.fixture(scope="module")
def first(
    quick_config: Planted, planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    root = tmp_path_factory.mktemp("carried")
    config = config_of(quick_config, root, "first", None, planted.folder / "sae", {})
    return label(config, run_local, Silent())


@pytest.fixture(scope="module")
def second(quick_config: Planted, first: Run, later: Later) -> Run:
    root = Path(first.config.run.root)
    return label(
        config_of(quick_config, root, "second", "first", later.folder, {}), run_local, Silent()
    )


def rows(run: Run, table: str) -> dict[int, Row]:
    return {row["latent"]: row for row in Tables(run).read(table, SAE).to_pylist()}


def test_labels_that_hold_are_carried_with_their_scores(
    first: Run, second: Run, later: Later
) -> None:
    before, now, selection = (
        rows(first, "labels"),
        rows(second, "labels"),
        rows(second, "selection"),
    )
    carried = [latent for latent, row in selection.items() if row["carried"]]
    assert len(carried) > 30
    for latent in carried:
        old = before[later.olds[latent]]
        for column in ("label", "method", "status", *SCORES):
            assert now[latent][column] == old[column], column
        origin = [now[latent][f"origin_{part}"] for part in ("run", "sae", "latent")]
        assert origin == ["first", SAE, later.olds[latent]]
        assert not now[latent]["chosen"] and selection[latent]["reason"] == "carried"
    moved = [latent for latent in carried if later.olds[latent] != latent]
    stats = rows(second, "latent_stats")
    assert moved
    for latent in moved:  # what is measured is its own
        assert now[latent]["max_activation"] == stats[latent]["max_activation"]


def test_nothing_is_asked_about_carried_latents(second: Run) -> None:
    tables = Tables(second)
    carried = tables.carried(SAE)
    for method in ("keywords", "max_act"):
        asked = tables.read("sentences", SAE, method)["latent"].to_pylist()
        assert asked and not carried & set(asked)
    described = set(tables.read("descriptions", SAE, "max_act")["latent"].to_pylist())
    assert not carried & described and set(tables.selection(SAE)) == described


def test_what_changed_is_labelled_anew_and_says_why(
    second: Run, later: Later, planted: PlantedTruth
) -> None:
    checks, labels = rows(second, "carry_checks"), rows(second, "labels")
    for latent, old in enumerate(later.olds):
        failed = checks[latent]["failed_check"]
        if old < 0:
            assert (failed, checks[latent]["status"]) == ("match", "no_partner")
        elif latent < BORN + ELSEWHERE:
            assert failed == "correlation"
        elif not planted.is_alive(old):
            assert failed in ("label", "correlation")
        else:
            assert failed is None and checks[latent]["status"] == "ok"
        if failed is not None:
            assert labels[latent]["origin_run"] is None and labels[latent]["chosen"]
    relabelled = [labels[i]["label"] for i in range(BORN, BORN + ELSEWHERE)]
    for i, text in enumerate(relabelled):
        word = planted.triggers[later.olds[BORN + (i - 1) % ELSEWHERE]]
        assert word in text


def test_panel_and_sample_are_labelled_anew_though_their_labels_hold(second: Run) -> None:
    checks = rows(second, "carry_checks")
    marked = [r for r in rows(second, "selection").values() if r["panel"] or r["sample"]]
    assert marked and all(row["chosen"] and not row["carried"] for row in marked)
    assert any(checks[row["latent"]]["carried"] for row in marked)


def test_sentences_score_the_same_where_a_latent_only_moved(
    first: Run, second: Run, later: Later
) -> None:
    """The same weights in another place give each sentence the same activation."""
    before, checks = rows(first, "labels"), rows(second, "carry_checks")
    num_checked = 0
    for latent in range(BORN + ELSEWHERE, len(later.olds)):
        row = checks[latent]
        if row["auroc"] is not None:
            assert row["auroc"] == row["auroc_before"]
            assert row["auroc"] == before[later.olds[latent]]["input_auroc"]
            num_checked += 1
    assert num_checked > 30


def test_sentences_catch_what_nothing_else_may(
    quick_config: Planted, first: Run, later: Later
) -> None:
    """With no other check asked for, a latent that fires elsewhere fails by its sentences."""
    lenient = {"carry_correlation": 0, "carry_overlap": 0, "carry_auroc_loss": 0.2}
    root = Path(first.config.run.root)
    config = config_of(quick_config, root, "lenient", "first", later.folder, lenient)
    checks = rows(label(config, run_local, Silent()), "carry_checks")
    for latent in range(BORN, BORN + ELSEWHERE):
        assert checks[latent]["failed_check"] == "sentences"
        assert checks[latent]["auroc"] < checks[latent]["auroc_before"] - 0.2


def test_label_carried_twice_keeps_its_origin_and_its_sentences(
    quick_config: Planted, first: Run, second: Run, planted: PlantedTruth, later: Later
) -> None:
    root = Path(first.config.run.root)
    third = label(
        config_of(quick_config, root, "third", "second", planted.folder / "sae", {}),
        run_local,
        Silent(),
    )
    labels, checks = rows(third, "labels"), rows(third, "carry_checks")
    again = rows(second, "labels")
    was = {old: latent for latent, old in enumerate(later.olds) if old >= 0}
    twice = [i for i in Tables(third).carried(SAE) if again[was[i]]["origin_run"] is not None]
    assert len(twice) > 20
    for latent in twice:
        origin = [labels[latent][f"origin_{part}"] for part in ("run", "sae", "latent")]
        assert origin == ["first", SAE, latent]
        assert checks[latent]["auroc"] == checks[latent]["auroc_before"]
    once = set(Tables(third).carried(SAE)) - set(twice)
    assert {labels[latent]["origin_run"] for latent in once} == {"second"}


def test_labels_that_scored_low_are_made_anew_by_another_llm(
    quick_config: Planted, first: Run, planted: PlantedTruth
) -> None:
    before = rows(first, "labels")
    scores = sorted(s for row in before.values() if (s := row["detection_auroc"]) is not None)
    least = scores[len(scores) // 2]
    assert least > scores[0], "some labels are better than others"
    match = {"carry_scores": {"detection_auroc": least}, "carry_despite_changes": True}
    other = {"temperature": 0.3}
    root = Path(first.config.run.root)
    path = planted.folder / "sae"
    run = label(
        config_of(quick_config, root, "poor", "first", path, match, llm=other), run_local, Silent()
    )
    labels, checks = rows(run, "labels"), rows(run, "carry_checks")
    reasons = {row["failed_check"] for row in checks.values()}
    assert {"score", None} <= reasons
    for latent, row in before.items():
        is_poor = row["detection_auroc"] is None or row["detection_auroc"] < least
        if checks[latent]["failed_check"] in ("score", None):
            assert (checks[latent]["failed_check"] == "score") == is_poor, latent
        if labels[latent]["origin_run"]:
            assert not is_poor and labels[latent]["label"] == row["label"]
    assert any(row["origin_run"] for row in labels.values())


@pytest.mark.parametrize("num_days", [0, 1])
def test_labels_that_are_too_old_are_made_anew(
    num_days: int, quick_config: Planted, first: Run, second: Run, later: Later
) -> None:
    """Labels of `second` are as old as the run that made them."""
    made_on = labelled_on(first, SAE)
    assert made_on is not None
    match = {"carry_since": made_on + timedelta(days=num_days)}
    root, name = Path(first.config.run.root), f"since-{num_days}"
    run = label(
        config_of(quick_config, root, name, "second", later.folder, match), run_local, Silent()
    )
    failed = {row["failed_check"] for row in rows(run, "carry_checks").values()}
    assert ("age" in failed) == (num_days == 1) == (not Tables(run).carried(SAE))


@pytest.mark.parametrize("section", ["describe", "llm"])
def test_labels_made_otherwise_are_not_carried(
    section: str,
    quick_config: Planted,
    first: Run,
    later: Later,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = {"describe": {"cap_words": 29}, "llm": {"temperature": 0.3}}[section]
    if section == "describe":
        changes = ALL["describe"] | changes
    config = config_of(
        quick_config,
        Path(first.config.run.root),
        section,
        "first",
        later.folder,
        {},
        **{section: changes},
    )
    with caplog.at_level(logging.WARNING):
        run = label(config, run_local, Silent())
    assert f"No label is carried over from {first.uri}: [{section}] differs" in caplog.text
    assert not load_run(run.uri).config.carries_over
    assert not any(row["origin_run"] for row in rows(run, "labels").values())
