"""`num_units = 0`: nothing is steered, and all else is as with steered text."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.reports import compare
from ray_autointerp.reports.latent_card import latent_card
from ray_autointerp.reports.run_scores import run_scores
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]
SAE = "planted"
STEERED = ("completions", "control_texts", "output_ceilings", "judgements", "output_scores")


def test_run_without_steered_text_has_all_other_scores(
    quick_config: Planted, quick_run: Run, tmp_path: Path
) -> None:
    score = {"num_units": 0, "three_set_methods": []}
    run = label(quick_config(tmp_path, {"score": score}), run_local, Silent())
    assert not [table for table in STEERED if list(Path(run.uri).glob(f"**/{table}"))]
    labels, before = (Tables(made).read("labels", SAE).to_pylist() for made in (run, quick_run))
    for row, old in zip(labels, before, strict=True):
        assert row["output_win_rate"] is None and row["output_ceiling"] is None
        if row["method"] == old["method"]:
            assert row["input_auroc"] == old["input_auroc"]
            assert row["unseen_win_rate"] == old["unseen_win_rate"]
    scores = run_scores(run, SAE)
    names = {line.measure.name for line in compare.lines(scores)}
    assert "input_auroc" in names and "output_win_rate" not in names
    assert not list(compare.control_text_tests(scores))
    chosen = next(row["latent"] for row in labels if row["chosen"])
    assert all("output_score" not in d.scores for d in latent_card(run, SAE, chosen).descriptions)


def test_three_sets_need_steered_text(quick_config: Planted) -> None:
    with pytest.raises(ConfigError, match="num_units"):
        quick_config("x", {"score": {"num_units": 0, "three_set_methods": ["keywords"]}})
