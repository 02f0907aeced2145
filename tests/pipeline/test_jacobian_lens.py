"""A run whose Jacobian was fitted before: its lists, how far they are believed, what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformer_lens.tools.analysis import JacobianLens as Reference

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError, RunMismatch
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.subject import Subject
from ray_autointerp.passes.agreement_curve import agreement_curve
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.pipeline import label
from ray_autointerp.preflight.check import check
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]


def with_lens(file: Path) -> dict[str, Any]:
    return {"evidence": {"jacobian": f"lens:{file}", "change_estimator": "exact"}}


@pytest.fixture(scope="module")
def lens_file(
    planted: PlantedTruth, quick_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """From the hook point to the state before the final norm, on the windows of the run."""
    subject = Subject.load(str(planted.folder / "subject"), device="cpu")
    site = subject.site(quick_run.axes.hook_points["planted"])
    windows_WT = change_windows(Tables(quick_run), "explain", 24)
    h_WTD = subject.residual(windows_WT, site)
    mask_WT = position_mask(subject, windows_WT, h_WTD, site)
    subject._parts = replace(subject._parts, norm=nn.Identity())
    rows_KWD = window_jacobians(subject, h_WTD, mask_WT, site, range(h_WTD.shape[2]))
    matrix = rows_KWD.sum(1) / mask_WT.sum()
    assert isinstance(site, int)
    file = tmp_path_factory.mktemp("lens") / "lens.pt"
    lens = Reference({site - 1: matrix}, n_prompts=24, d_model=len(matrix))
    lens.save(str(file), dtype=torch.float32)
    return file


@pytest.fixture(scope="module")
def lens_run(
    quick_config: Planted, lens_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    return label(
        quick_config(tmp_path_factory.mktemp("lens"), with_lens(lens_file)), run_local, Silent()
    )


def promoted(run: Run) -> dict[int, list[int]]:
    rows = Tables(run).read("jacobian_proj", "planted").to_pylist()
    return {
        row["latent"]: [entry["token"] for entry in row["promoted"][:5]]
        for row in rows
        if row["promoted"]
    }


def test_lists_are_those_of_the_runs_own_jacobian(lens_run: Run, quick_run: Run) -> None:
    """Both Jacobians are of the same windows; the norm's is averaged by itself."""
    found, own = promoted(lens_run), promoted(quick_run)
    assert found.keys() == own.keys() and len(own) > 20
    shared = [len({*found[latent]} & {*own[latent]}) / 5 for latent in own]
    assert sum(shared) / len(shared) > 0.8
    firsts = [found[latent][0] == own[latent][0] for latent in own]
    assert sum(firsts) / len(firsts) > 0.9


def test_sizes_are_those_of_the_runs_own_jacobian(lens_run: Run, quick_run: Run) -> None:
    found, own = (
        torch.tensor(
            Tables(run).read("jacobian", run.axes.hook_points["planted"])["mean"].to_pylist()
        )
        for run in (lens_run, quick_run)
    )
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), own.flatten(), dim=0)
    assert cosine > 0.9
    assert float(found.norm() / own.norm()) == pytest.approx(1, abs=0.25)


def test_agreement_judges_the_lens_and_nothing_that_needs_single_windows(lens_run: Run) -> None:
    points = agreement_curve(Tables(lens_run), "planted")
    assert {(p.estimator, p.num_windows) for p in points if p.estimator == "jacobian_proj"} == {
        ("jacobian_proj", 24)
    }
    names = {point.estimator for point in points}
    assert names == {"exact", "exact_halves", "jacobian_proj", "vocab_proj", "token_change"}
    assert not Tables(lens_run).read("change_variance", "planted").num_rows


def test_lens_of_another_model_is_refused_before_anything_runs(
    quick_config: Planted, tmp_path: Path
) -> None:
    Reference({1: torch.eye(8)}, n_prompts=1, d_model=8).save(str(tmp_path / "lens.pt"))
    with pytest.raises(ConfigError, match="has matrices of 8 x 8, and the subject's d_model is"):
        check(quick_config(tmp_path, with_lens(tmp_path / "lens.pt")))


def test_run_does_not_go_on_with_another_lens(
    quick_config: Planted, lens_file: Path, lens_run: Run, tmp_path: Path
) -> None:
    """Where the file lies decides nothing; what it holds does."""
    root = Path(lens_run.uri).parent.parent
    held = lens_file.read_bytes()
    moved = tmp_path / "moved.pt"
    moved.write_bytes(held)
    label(quick_config(root, with_lens(moved)), run_local, Silent())
    payload = torch.load(moved, weights_only=True)
    payload["J"] = {layer: 2 * matrix for layer, matrix in payload["J"].items()}
    torch.save(payload, moved)
    with pytest.raises(RunMismatch, match=r"step `jacobian` was made with input.lens"):
        label(quick_config(root, with_lens(moved)), run_local, Silent())


def test_control_variate_needs_the_runs_own_jacobian(quick_config: Planted, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a lens has no Jacobian of each window"):
        quick_config(tmp_path, {"evidence": {"jacobian": "lens:gemma-2-2b"}})
