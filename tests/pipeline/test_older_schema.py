"""A run of an older schema version: it is read, and followed, and not written into."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import RunMismatch
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.records.schemas import SCHEMA_VERSION
from ray_autointerp.reports.bill_table import bill
from ray_autointerp.reports.label_table import labels
from ray_autointerp.reports.latent_card import latent_card
from ray_autointerp.reports.run_scores import run_scores
from ray_autointerp.reports.status_table import status
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]
SAE = "planted"
NEWER = {
    "labels": ("origin_run", "origin_sae", "origin_latent"),
    "selection": ("carried",),
    "descriptions": ("relation",),
}
"""Columns that today's tables have and the older ones lack."""
NEWER_STEP = "sae_fit/"


def with_version(run: Path, version: int) -> Path:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"schema_version": version}))
    return run


@pytest.fixture
def older(quick_run: Run, tmp_path: Path) -> Path:
    """The quick run as a version before the columns of NEWER wrote it."""
    folder = tmp_path / "planted"
    shutil.copytree(quick_run.uri, folder)
    for table, columns in NEWER.items():
        parts = [
            *folder.glob(f"sae/*/{table}.parquet"),
            *folder.glob(f"sae/*/{table}/**/*.parquet"),
        ]
        assert parts
        for part in parts:
            kept = pq.read_table(part)
            lacking = [name for name in columns if name in kept.column_names]
            pq.write_table(kept.drop_columns(lacking), part)
    shutil.rmtree(folder / "sae" / SAE / "sae_fit")
    manifest = json.loads((folder / "manifest.json").read_text())
    known = {node: r for node, r in manifest["identity"].items() if not node.startswith(NEWER_STEP)}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"identity": known}))
    return with_version(folder, SCHEMA_VERSION - 1)


def test_reports_read_it_with_nulls_for_what_it_lacks(older: Path, quick_run: Run) -> None:
    run = load_run(str(older))
    found, now = labels(run, SAE), labels(quick_run, SAE)
    assert found.equals(now), "the quick run carried no label over"
    assert found["origin_run"].null_count == len(found)
    assert Tables(run).carried(SAE) == frozenset()
    assert run_scores(run, SAE).num_carried == 0
    assert latent_card(run, SAE, 0).label == latent_card(quick_run, SAE, 0).label
    seen = status(run)
    assert seen.left.num_done == seen.left.num_tasks and bill(run)


def test_it_is_not_continued_and_the_sentence_says_what_to_do(
    older: Path, quick_config: Planted
) -> None:
    before = sorted(older.rglob("*"))
    with pytest.raises(RunMismatch, match=r"schema version .* `?run\.parent = \"planted\""):
        label(quick_config(older.parent), run_local, Silent())
    assert sorted(older.rglob("*")) == before


def test_child_takes_over_from_it_what_does_not_differ(
    older: Path, quick_run: Run, quick_config: Planted
) -> None:
    config = quick_config(older.parent)
    section = config.run.model_copy(update={"name": "child", "parent": "planted"})
    child = label(config.model_copy(update={"run": section}), run_local, Silent())
    assert set(child.inherits.values()) == {"planted"}
    assert labels(child, SAE).equals(labels(quick_run, SAE))


def test_version_newer_than_the_code_is_not_read(quick_run: Run, tmp_path: Path) -> None:
    shutil.copytree(quick_run.uri, tmp_path / "planted")
    newer = with_version(tmp_path / "planted", SCHEMA_VERSION + 1)
    with pytest.raises(RunMismatch, match="or a later one"):
        load_run(str(newer))
