"""What is dropped from a run is only what its tables repeat, and only where nobody needs it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import StoreError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.reports.bill_table import bill
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.prune import drop_answers, sizes_by_table
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import Store, open_store

Planted = Callable[..., Config]
COUNTED = {"llm": {"script": "counted:counted"}}


@pytest.fixture
def copied(counted_run: tuple[Run, list[dict[str, Any]]], tmp_path: Path) -> Run:
    shutil.copytree(counted_run[0].uri, tmp_path / "planted")
    return replace(load_run(str(tmp_path / "planted")), uri=str(tmp_path / "planted"))


def objects(store: Store) -> set[str]:
    return set(store.list())


def test_sizes_are_those_of_every_object_by_table(copied: Run) -> None:
    sizes = sizes_by_table(open_store(copied.uri))
    files = [path for path in Path(copied.uri).rglob("*") if path.is_file()]
    assert sum(size for _, size in sizes.values()) == sum(path.stat().st_size for path in files)
    assert sum(number for number, _ in sizes.values()) == len(files)
    assert {"tokens", "top_examples", "answers", "ledger", "labels", "manifest.json"} <= set(sizes)
    bytes_of = [size for _, size in sizes.values()]
    assert bytes_of == sorted(bytes_of, reverse=True)


def test_answers_are_dropped_and_tables_and_bill_stay(copied: Run) -> None:
    store = open_store(copied.uri)
    before, sizes, paid = set(store.list()), store.sizes("answers/"), bill(copied)
    assert drop_answers(copied) == sum(sizes.values()) > 0
    assert set(store.list()) == before - set(sizes)
    after = bill(copied)
    assert [(line.step, line.method) for line in after.lines] == [
        (line.step, line.method) for line in paid.lines
    ]
    assert after.total.usage.num_tokens == paid.total.usage.num_tokens > 0
    label(copied.config, run_local, Silent())
    assert drop_answers(copied) == 0


def test_answers_of_an_unfinished_run_are_kept(copied: Run) -> None:
    (Path(copied.uri) / "sae" / "planted" / "labels.parquet").unlink()
    with pytest.raises(StoreError, match="is not finished: without its answers it would ask"):
        drop_answers(copied)


def test_answers_that_an_unfinished_child_may_take_are_kept(
    copied: Run, quick_config: Planted, tmp_path: Path
) -> None:
    config = quick_config(tmp_path, {**COUNTED, "select": {"num_latents": 7}})
    section = config.run.model_copy(update={"name": "wider", "parent": "planted"})
    child = label(config.model_copy(update={"run": section}), run_local, Silent())
    labels = Path(child.uri) / "sae" / "planted" / "labels.parquet"
    labels.rename(tmp_path / "aside")
    with pytest.raises(StoreError, match=r"wider follows this one, is not finished"):
        drop_answers(copied)
    (tmp_path / "aside").rename(labels)
    assert drop_answers(copied) > 0
