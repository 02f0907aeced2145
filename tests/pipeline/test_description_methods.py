"""Every description method through the real flow: true descriptions win, shuffled ones do not."""

from collections.abc import Callable
from typing import Any

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.plan.controls import shuffled
from ray_autointerp.plan.evidence import DESCRIPTION_METHODS, EXPLAINERS
from ray_autointerp.prompts.ensemble import SINGLE_ORDER
from ray_autointerp.prompts.structured import in_words
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

SAE = "planted"
SCORED = ["named_keywords", "jacobian_proj", "summary"]
OUTPUTS = {"vocab_proj", "jacobian_proj", "token_change", "ensemble_raw_vocab_proj_token_change"}

Planted = Callable[..., Config]


def sections(**describe: Any) -> dict[str, dict[str, Any]]:
    methods = ["named_keywords", *(m for m in DESCRIPTION_METHODS if m != "named_keywords")]
    return {
        "select": {"num_latents": 12, "panel": 12, "controls": 12},
        "describe": {"methods": methods, "label_by": "order", **describe},
        "score": {"methods": SCORED, "three_set_methods": [], "num_units": 4},
    }


@pytest.fixture(scope="module")
def run(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return label(quick_config(tmp_path_factory.mktemp("every"), sections()), run_local, Silent())


@pytest.fixture(scope="module")
def structured_run(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("structured")
    changes = sections(structured=True) | {"score": {"methods": [], "three_set_methods": []}}
    return label(quick_config(root, changes), run_local, Silent())


def rows(run: Run, table: str, method: str | None = None) -> list[Row]:
    return Tables(run).read(table, SAE, method).to_pylist()


@pytest.mark.parametrize("method", EXPLAINERS)
def test_every_method_names_what_its_evidence_shows(
    run: Run, planted: PlantedTruth, method: str
) -> None:
    described = rows(run, "descriptions", method)
    assert len(described) == 12
    for row in described:
        trigger, effect = planted.triggers[row["latent"]], planted.effects[row["latent"]]
        assert row["status"] == "ok"
        assert (trigger in row["description"]) == (method not in OUTPUTS)
        assert (effect in row["description"]) == (method != "max_act")
        assert row["prompt_digest"]
        limit = 90 if method == "ensemble_concat_uncapped" else 30
        assert len(row["description"].split()) <= limit


def test_name_stands_before_the_keywords_and_in_the_labels(run: Run, planted: PlantedTruth) -> None:
    keywords = {row["latent"]: row for row in rows(run, "descriptions", "keywords")}
    named = {row["latent"]: row for row in rows(run, "descriptions", "named_keywords")}
    for latent, row in named.items():
        assert row["name"] == f"{planted.triggers[latent]} and {planted.effects[latent]}"
        whole = f"{row['name']}; {keywords[latent]['description']}"
        assert row["description"] == whole
        assert (row["trigger"], row["promotes"]) == tuple(
            keywords[latent][side] for side in ("trigger", "promotes")
        )
    for row in rows(run, "labels"):
        if row["chosen"]:
            assert (row["method"], row["name"]) == (
                "named_keywords",
                named[row["latent"]]["name"],
            )
        else:
            assert (row["method"], row["name"]) == ("keywords", None)
    for method in EXPLAINERS:
        if method != "named_keywords":
            assert {row["name"] for row in rows(run, "descriptions", method)} == {None}


def test_uncapped_concat_is_the_single_descriptions_as_they_are(run: Run) -> None:
    singles = {
        method: {row["latent"]: row for row in rows(run, "descriptions", method)}
        for method in SINGLE_ORDER
    }
    for row in rows(run, "descriptions", "ensemble_concat_uncapped"):
        parts = [singles[method][row["latent"]] for method in SINGLE_ORDER]
        assert row["description"].splitlines() == [part["description"] for part in parts]
        assert row["prompt_digest"].split("+") == [part["prompt_digest"] for part in parts]


@pytest.mark.parametrize("method", EXPLAINERS)
def test_structured_parts_are_columns_and_make_the_description(
    structured_run: Run, planted: PlantedTruth, method: str
) -> None:
    for row in rows(structured_run, "descriptions", method):
        assert row["status"] == "ok"
        trigger, effect = planted.triggers[row["latent"]], planted.effects[row["latent"]]
        if EXPLAINERS[method].text is None:  # joined: parts belong to the single methods
            assert row["relation"] is None and row["trigger"] is None
            continue
        if EXPLAINERS[method].can_be_structured:
            assert row["description"] == in_words(row)
            has_both = method not in OUTPUTS and method != "max_act"
            assert row["relation"] == ("different" if has_both else "none")
            assert row["suppresses"] is None
        assert row["trigger"] == (None if method in OUTPUTS else f'"{trigger}"')
        assert (row["promotes"] is None) == (method == "max_act")
        assert method == "max_act" or effect in row["promotes"]


@pytest.mark.parametrize("method", SCORED)
def test_true_descriptions_win_and_shuffled_ones_are_at_the_floor(run: Run, method: str) -> None:
    true, false = scores(run, method), scores(run, shuffled(method))
    assert true["win_rate"] > 0.85  # keywords quote other words beside the one that is promoted
    assert 0.2 < false["win_rate"] < 0.8
    if method != "jacobian_proj":  # whose description names the effect alone
        assert true["auroc"] > 0.9
    assert false["auroc"] < 0.65


def scores(run: Run, method: str) -> dict[str, float]:
    found = {}
    for table, column in (("input_scores", "auroc"), ("output_scores", "win_rate")):
        values = [r[column] for r in rows(run, table, method) if r["status"] == "ok"]
        assert len(values) == 12
        found[column] = sum(values) / len(values)
    return found
