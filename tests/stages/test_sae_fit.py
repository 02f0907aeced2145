"""Whether an SAE fits is measured as a slow reading does, and told before anything heavy."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import SaeError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.subject import Subject
from ray_autointerp.pipeline import label
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.parquet import read_metadata

Planted = Callable[..., Config]
SAE_ID = "planted"


def fit(run: Run) -> Row:
    (row,) = Tables(run).read("sae_fit", SAE_ID).to_pylist()
    return dict(row)


@pytest.fixture
def refusing(quick_config: Planted, tmp_path: Path) -> Callable[..., Config]:
    """A config that refuses SAEs by this share, with changes of its [[sae]]."""

    def make(most: float, **sae: Any) -> Config:
        config = quick_config(tmp_path, {"sae_fit": {"most_unexplained": most}})
        section = config.sae[0].model_copy(update=sae)
        return config.model_copy(update={"sae": (section,)})

    return make


def test_row_is_that_of_a_slow_reading(quick_run: Run, planted: PlantedTruth) -> None:
    """Window by window, by SAELens' own reconstruction."""
    config, row = quick_run.config, fit(quick_run)
    subject = Subject.load(config.subject.model, device="cpu")
    sae: Any = SAE.load_from_disk(planted.folder / "sae")
    site = subject.site(config.sae[0].hook_point or "")
    states, num_positions = [], 0
    for window in Tables(quick_run).read("tokens", None, shards=[0]).to_pylist():
        if num_positions >= config.sae_fit.num_tokens:
            break
        ids = window["token_ids"]
        num_positions += len(ids)
        h_TD = subject.residual(torch.tensor([ids]), site)[0]
        kept = [
            t
            for t, token in enumerate(ids)
            if token not in subject.tokenizer.special_ids
            and h_TD[t].norm() <= subject.sink_threshold(site)
        ]
        states.append(h_TD[kept])
    x_ND = torch.cat(states)
    with torch.no_grad():
        acts_NL = sae.encode(x_ND)
        error = (x_ND - sae.decode(acts_NL)).double().square().sum()
    variance = (x_ND.double() - x_ND.double().mean(0)).square().sum()
    assert row["num_tokens"] == len(x_ND)
    assert row["unexplained"] == pytest.approx(float(error / variance), rel=1e-4)
    assert row["l0"] == pytest.approx(float((acts_NL != 0).sum(1).double().mean()), rel=1e-6)
    assert row["silent_share"] == pytest.approx(1 - float((acts_NL != 0).any(0).double().mean()))


def test_labels_file_says_what_the_sae_is_and_how_well_it_fits(quick_run: Run) -> None:
    store, row = Tables(quick_run).store, fit(quick_run)
    metadata = read_metadata(store, f"sae/{SAE_ID}/labels.parquet")
    assert float(metadata["unexplained"]) == row["unexplained"]
    assert metadata["hook_point"] == quick_run.config.sae[0].hook_point
    assert int(metadata["d_sae"]) == row["d_sae"]


def test_sae_that_explains_too_little_stops_the_run_before_anything_heavy(
    refusing: Callable[..., Config], quick_run: Run
) -> None:
    begun: list[str] = []

    class Steps(Silent):
        def started(self, task: Task) -> None:
            begun.append(task.step)

    most = fit(quick_run)["unexplained"] / 2
    with pytest.raises(SaeError, match=r"The SAE planted leaves .* set sae_fit\.most_unexplained"):
        label(refusing(most), run_local, Steps())
    assert begun[-1] == "sae_fit" and not {"max_act", "jacobian"} & set(begun)
    run = label(refusing(9), run_local, Silent())
    assert fit(run) == fit(quick_run)


def test_sae_on_another_layer_fits_worse(
    refusing: Callable[..., Config], quick_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    moved = refusing(1e-9, hook_point="blocks.0.hook_resid_pre")
    with caplog.at_level(logging.WARNING), pytest.raises(SaeError) as refused:
        label(moved, run_local, Silent())
    assert "another model, revision, layer" in str(refused.value)
