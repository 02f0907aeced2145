"""A random-weight SAE beside a planted one: the same flow, and scores at the floor."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config, SaeSection
from ray_autointerp.errors import SaeError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import HOOK_POINT, PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.plan.controls import shuffled
from ray_autointerp.preflight.check import check
from ray_autointerp.reports.compare_table import comparison
from ray_autointerp.reports.run_scores import RunScores, run_scores
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

RANDOM = SaeSection(id="random", random_like="planted")
CHANGES = {
    "select": {"num_latents": 16, "panel": 12, "sample": 3, "controls": 16},
    "describe": {"methods": ["max_act", "token_change", "keywords"]},
    "score": {"methods": ["max_act", "token_change"], "num_units": 1, "three_set_methods": []},
    "evidence": {"change_modes": ["all"]},
    "operations": {"selected_per_shard": 16},
}


@pytest.fixture(scope="module")
def top_k(planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted SAE with k in place of what never was in the way: one latent fires on a word."""
    folder = tmp_path_factory.mktemp("top_k") / "sae"
    shutil.copytree(planted.folder / "sae", folder)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"architecture": "topk", "k": 8}))
    return folder


def with_random(config: Config, folder: Path | None = None) -> Config:
    (planted,) = config.sae
    if folder is not None:
        planted = planted.model_copy(update={"path": str(folder)})
    return config.model_copy(update={"sae": (planted, RANDOM)})


@pytest.fixture(scope="module")
def both(
    quick_config: Callable[..., Config], top_k: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    config = quick_config(tmp_path_factory.mktemp("both"), CHANGES)
    return label(with_random(config, top_k), run_local, Silent())


@pytest.fixture(scope="module")
def scores(both: Run) -> dict[str, RunScores]:
    return {sae: run_scores(both, sae) for sae in both.saes}


def mean(scores: RunScores, method: str, measure: str) -> float:
    return fmean(scores.get(method, measure).values_N)


def test_random_latents_run_through_where_the_planted_ones_do(both: Run) -> None:
    tables = Tables(both)
    assert both.axes.hook_points["random"] == HOOK_POINT
    assert len(both.axes.latents["random"]) == len(both.axes.latents["planted"])
    share = {
        sae: fmean(row["density"] for row in tables.read("latent_stats", sae).to_pylist())
        for sae in both.saes
    }
    assert share["random"] == pytest.approx(8 / 56, rel=1e-6), "k of its latents are active"
    assert share["planted"] < share["random"], "the planted ones are silent without their word"


def test_random_latents_score_at_the_floor(scores: dict[str, RunScores]) -> None:
    """By what is judged on text; a random direction still tells single words of a toy apart."""
    measure = "detection_auroc"
    assert mean(scores["planted"], "max_act", measure) == 1
    assert len(scores["random"].get("max_act", measure).latents_N) > 8
    own, floor = (
        mean(scores["random"], method, measure) for method in ("max_act", shuffled("max_act"))
    )
    assert abs(own - 0.5) < 0.1 and abs(own - floor) < 0.1
    assert mean(scores["planted"], "token_change", "output_win_rate") == 1


def test_compare_prints_both(scores: dict[str, RunScores]) -> None:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        for part in comparison([*scores.values()], []):
            console.print(part)
    for sae in ("planted", "random"):
        assert f"· {sae} · {HOOK_POINT}" in capture.get()


def test_identity_is_of_the_original_and_the_seed(
    quick_config: Callable[..., Config], top_k: Path, tmp_path: Path
) -> None:
    config = with_random(quick_config(tmp_path), top_k)
    digests = [
        check(config.model_copy(update={"run": config.run.model_copy(update={"seed": seed})}))
        for seed in (0, 0, 1)
    ]
    one, again, other = (checked.inputs.saes for checked in digests)
    assert one == again and one["planted"] == other["planted"]
    assert len({one["planted"], one["random"], other["random"]}) == 3


def test_original_that_is_no_top_k_is_refused_before_anything_is_written(
    quick_config: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(SaeError, match=r"random_like needs .* `standard`") as refused:
        check(with_random(quick_config(tmp_path)))
    assert "\n" not in str(refused.value) and not [*tmp_path.iterdir()]
