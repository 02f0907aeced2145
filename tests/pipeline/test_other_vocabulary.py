"""A subject whose embedding has more rows than the tokenizer has ids."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

Planted = Callable[..., Config]
PADDING = 7
LISTS = ("promoted", "suppressed", "reads", "reads_against")


def num_ids(planted: PlantedTruth) -> int:
    return len(AutoTokenizer.from_pretrained(planted.folder / "subject"))


@pytest.fixture(scope="module")
def padded_run(
    planted: PlantedTruth, quick_config: Planted, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Padded rows are the mirror images and doubles of others, which would top many lists."""
    folder = Path(shutil.copytree(planted.folder / "subject", tmp_path_factory.mktemp("s") / "s"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    size = num_ids(planted)
    model.resize_token_embeddings(size + PADDING, mean_resizing=False)
    with torch.no_grad():
        for matrix in (model.get_input_embeddings(), model.get_output_embeddings()):
            matrix.weight[size:] = 3 * torch.sign(matrix.weight[5 : 5 + PADDING])
    model.save_pretrained(folder)
    config = quick_config(tmp_path_factory.mktemp("padded"), {"subject": {"model": str(folder)}})
    return label(config, run_local, Silent())


def lists_of(run: Run, table: str, method: str | None = None) -> list[list[Row]]:
    rows = Tables(run).read(table, "planted", method).to_pylist()
    return [row[name] for row in rows for name in LISTS if row.get(name)]


@pytest.mark.parametrize(
    ("table", "method"), [("vocab_proj", None), ("jacobian_proj", None), ("token_change", "all")]
)
def test_padded_rows_are_in_no_list(
    padded_run: Run, planted: PlantedTruth, table: str, method: str | None
) -> None:
    lists = lists_of(padded_run, table, method)
    assert lists
    for entries in lists:
        assert max(entry["token"] for entry in entries) < num_ids(planted)
        assert all(entry["text"] for entry in entries)


def test_lists_are_those_of_the_subject_without_padding(padded_run: Run, quick_run: Run) -> None:
    found, whole = (lists_of(run, "vocab_proj") for run in (padded_run, quick_run))
    for ours, theirs in zip(found, whole, strict=True):
        assert [entry["token"] for entry in ours] == [entry["token"] for entry in theirs]
    for name in ("lens", "reads", "jacobian"):
        tables = (Tables(run).read("hub_stats", "planted", name) for run in (padded_run, quick_run))
        assert len({len(table) for table in tables}) == 1
