"""Copied answers and texts that many latents share are no labels, however the work is cut."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.prompts.text import worked_examples
from ray_autointerp.reports.latent_card import latent_card
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]

SMALL = {"num_units": 4, "num_draws": 1}
METHODS = ["max_act", "vocab_proj", "ensemble_raw", "keywords"]


@pytest.fixture(scope="module")
def made(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    def make(methods: list[str], **operations: int) -> Run:
        sections: dict[str, dict[str, Any]] = {
            "llm": {"script": "witness:repeating"},
            "describe": {"methods": methods},
            "score": {"methods": methods[:1], "three_set_methods": []} | SMALL,
        }
        if operations:
            sections["operations"] = operations
        config = quick_config(tmp_path_factory.mktemp("repeating"), sections)
        return label(config, run_local, Silent())

    return make


@pytest.fixture(scope="module")
def run(made: Callable[..., Run]) -> Run:
    return made(METHODS)


def rows(run: Run, table: str, method: str | None = None) -> list[dict[str, Any]]:
    return Tables(run).read(table, "planted", method).to_pylist()


def test_repeated_worked_example_is_lint_with_its_answer_and_is_not_scored(run: Run) -> None:
    described = rows(run, "descriptions", "max_act")
    assert {(row["status"], row["description"]) for row in described} == {("lint", None)}
    copied = worked_examples("max_act")[0].assistant.upper()
    assert {row["answer"] for row in described} == {f"Description: {copied}."}
    assert {row["status"] for row in rows(run, "input_scores", "max_act")} == {"no_evidence"}


def test_label_passes_over_a_text_that_many_latents_have(run: Run) -> None:
    chosen = [row for row in rows(run, "labels") if row["chosen"]]
    assert len(chosen) >= 6
    for row in chosen:
        assert (row["method"], row["status"]) == ("ensemble_raw", "ok")
        assert row["repeated"] == ["vocab_proj"]
    assert {r["status"] for r in rows(run, "descriptions", "vocab_proj")} == {"ok"}
    for row in rows(run, "labels"):
        if not row["chosen"]:
            assert (row["method"], row["repeated"]) == ("keywords", [])


def test_labels_do_not_depend_on_how_the_work_is_cut(run: Run, made: Callable[..., Run]) -> None:
    other = made(METHODS, latents_per_shard=7, selected_per_shard=1)
    assert rows(other, "labels") == rows(run, "labels")


def test_latent_without_any_other_description_is_lint(made: Callable[..., Run]) -> None:
    chosen = [row for row in rows(made(["vocab_proj"]), "labels") if row["chosen"]]
    assert {(row["label"], row["method"], row["status"]) for row in chosen} == {
        (None, None, "lint")
    }


def test_card_says_that_a_text_is_repeated_once_labels_are_there(run: Run, tmp_path: Path) -> None:
    latent = next(row["latent"] for row in rows(run, "labels") if row["chosen"])
    unlabelled = replace(run, uri=str(tmp_path / "run"))
    shutil.copytree(run.uri, unlabelled.uri, ignore=shutil.ignore_patterns("labels*"))
    for made, repeated in ((run, ["vocab_proj"]), (unlabelled, [])):
        described = latent_card(made, "planted", latent).descriptions
        assert [one.method for one in described] == METHODS
        assert [one.method for one in described if one.is_repeated] == repeated
