"""An SAE is matched with the parent run's: a permuted one with births, deaths and drift."""

import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError, UserError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.reports.json_document import matches_document, write_json
from ray_autointerp.reports.match_table import match_summary, match_tables
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]
Later = tuple[Path, list[int]]
SAE = "planted"
BORN = 3
FEW = {
    "describe": {"methods": ["max_act", "keywords"]},
    "score": {"methods": ["keywords"], "num_units": 0, "three_set_methods": []},
    "select": {"rule": "sample", "num_latents": 12, "panel": 4, "sample": 3, "controls": 0},
}


@pytest.fixture(scope="module")
def later(
    planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[int]]:
    """A later checkpoint, and by its latents which latent of the first each is, -1 for a birth."""
    folder = tmp_path_factory.mktemp("later") / "sae"
    shutil.copytree(planted.folder / "sae", folder)
    weights = load_file(folder / "sae_weights.safetensors")
    draws = torch.Generator().manual_seed(5)
    order = torch.randperm(len(weights["W_dec"]), generator=draws)
    moved = {name: tensor.clone() for name, tensor in weights.items()}
    moved["W_dec"], moved["W_enc"] = weights["W_dec"][order], weights["W_enc"][:, order]
    mixed = slice(BORN, BORN + 10)  # these fire on the word of another one too
    moved["W_enc"] = moved["W_enc"].clone()
    moved["W_enc"][:, mixed] += moved["W_enc"][:, mixed].roll(1, dims=1)
    for name in ("b_enc", "threshold"):
        if name in weights:
            moved[name] = weights[name][order]
    born = torch.randn(BORN, moved["W_dec"].shape[1], generator=draws)
    moved["W_dec"][:BORN] = born / born.norm(dim=-1, keepdim=True)
    moved["W_dec"][BORN:] += 0.01 * torch.randn(moved["W_dec"][BORN:].shape, generator=draws)
    save_file({n: t.contiguous() for n, t in moved.items()}, folder / "sae_weights.safetensors")
    return folder, [-1] * BORN + order[BORN:].tolist()


@pytest.fixture(scope="module")
def root(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matched")
    label(quick_config(folder, FEW), run_local, Silent())
    return folder


def child_config(quick_config: Planted, root: Path, name: str, path: Path, **match: str) -> Config:
    config = quick_config(root, {**FEW, "match": match})
    run = config.run.model_copy(update={"name": name, "parent": "planted"})
    sae = config.sae[0].model_copy(update={"path": str(path)})
    return config.model_copy(update={"run": run, "sae": (sae,)})


@pytest.fixture(scope="module")
def child(quick_config: Planted, root: Path, later: Later) -> Run:
    return label(child_config(quick_config, root, "child", later[0]), run_local, Silent())


def test_every_latent_finds_its_earlier_self_and_births_find_none(child: Run, later: Later) -> None:
    rows = Tables(child).read("matches", SAE).to_pylist()
    assert [row["latent"] for row in rows] == list(range(len(later[1])))
    assert [row["earlier_latent"] for row in rows] == [i if i >= 0 else None for i in later[1]]
    for row, was in zip(rows, later[1], strict=True):
        if was < 0:
            assert row["status"] == "no_partner" and row["cosine"] is None
        else:
            assert row["status"] == "ok" and row["cosine"] > 0.95 and row["margin"] > 0.5
    metadata = Tables(child).metadata("matches", SAE, 0)
    assert (metadata["num_earlier"], metadata["num_lost"]) == (str(len(rows)), str(BORN))


def test_correlations_and_overlaps_are_those_of_a_slow_reading(
    child: Run, root: Path, later: Later
) -> None:
    parent = Tables(child).run.sibling("planted")
    assert parent == str(root / "planted")
    new, old = Tables(child), Tables(load_run(parent))
    num_latents = len(later[1])
    dense = [dense_activations(tables, num_latents) for tables in (new, old)]
    promoted = [
        {
            row["latent"]: {entry["token"] for entry in row["promoted"] or ()}
            for row in tables.read("jacobian_proj", SAE).to_pylist()
        }
        for tables in (new, old)
    ]
    num_compared = 0
    for row in new.read("matches", SAE).to_pylist():
        was = row["earlier_latent"]
        if was is None:
            continue
        mine, theirs = dense[0][row["latent"]], dense[1][was]
        if mine.any() and theirs.any():
            assert row["correlation"] == pytest.approx(np.corrcoef(mine, theirs)[0, 1], abs=1e-4)
            num_compared += 1
        shared = promoted[0][row["latent"]] & promoted[1][was]
        expected = len(shared) / len(promoted[0][row["latent"]])
        assert row["promoted_overlap"] == pytest.approx(expected)
    assert num_compared > 20
    known = [row["correlation"] for row in new.read("matches", SAE).to_pylist()]
    assert sum(found is not None and 0.2 < found < 0.95 for found in known) >= 5


def dense_activations(tables: Tables, num_latents: int) -> np.ndarray:
    """Latents by tokens, over all sampled windows in order of their ids."""
    rows = sorted(tables.read("window_sample", SAE).to_pylist(), key=lambda row: row["window"])
    found = []
    for row in rows:
        window = np.zeros((num_latents, len(row["token_ids"])))
        window[row["latents"], row["positions"]] = row["values"]
        found.append(window)
    return np.concatenate(found, axis=1)


def test_report_counts_and_shows_labels_that_differ(child: Run, later: Later) -> None:
    summary = match_summary(child, SAE)
    assert summary.num_matched == len(later[1]) - BORN
    assert summary.num_labelled > 0
    console = Console(file=io.StringIO(), width=200)
    for part in match_tables(summary, 5):
        console.print(part, markup=False)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert (
        f"{summary.num_matched} of {len(later[1])} latents are latents of planted of planted"
        in said
    )
    assert f"{BORN} are new, {BORN} of {len(later[1])} are lost" in said
    assert "median correlation" in said
    stream = io.StringIO()
    write_json(matches_document(child, summary), stream)
    document = json.loads(stream.getvalue())
    assert (document["num_matched"], document["num_lost"]) == (summary.num_matched, BORN)
    assert len(document["matches"]) == summary.matches.num_rows
    assert len(document["changed_labels"]) == len(summary.changed)


def test_finished_child_does_nothing_again(child: Run) -> None:
    class Nothing(Silent):
        def started(self, task: object) -> None:
            raise AssertionError(task)

    label(child.config, run_local, Nothing())


def test_earlier_weights_that_are_gone_leave_the_run_unmatched(
    quick_config: Planted,
    later: Later,
    planted: PlantedTruth,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = tmp_path / "first"
    shutil.copytree(planted.folder / "sae", own)
    first = child_config(quick_config, tmp_path, "planted", own)
    first = first.model_copy(update={"run": first.run.model_copy(update={"parent": None})})
    label(first, run_local, Silent())
    shutil.rmtree(own)
    with caplog.at_level(logging.WARNING):
        run = label(child_config(quick_config, tmp_path, "child", later[0]), run_local, Silent())
    assert "Latents are not matched with those of" in caplog.text
    with pytest.raises(UserError, match="matches no latents"):
        match_summary(run, SAE)


def test_sae_that_the_parent_has_not_is_refused(
    quick_config: Planted, root: Path, later: Later
) -> None:
    config = child_config(quick_config, root, "other", later[0], sae="nobody")
    with pytest.raises(ConfigError, match="has no SAE `nobody`; set match.sae to one of planted"):
        label(config, run_local, Silent())
