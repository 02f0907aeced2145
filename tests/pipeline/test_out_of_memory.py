"""A run whose passes run out of memory ends with the same rows, and says so where it happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import TaskError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.subject import Subject
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.parquet import read_metadata, read_table

FITS = 8
"""Windows in one pass; the runs' micro_batch is 16."""


@pytest.fixture
def scarce_run(
    quick_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    for name in ("residuals", "resume", "next_logits", "keep_keys"):
        real = getattr(Subject, name)

        def scarce(self: Subject, rows: Any, *rest: Any, real: Any = real) -> Any:
            if len(rows) > FITS:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(self, rows, *rest)

        monkeypatch.setattr(Subject, name, scarce)
    return label(quick_config(tmp_path), run_local, Silent())


def test_halved_run_has_the_rows_of_the_whole_one(quick_run: Run, scarce_run: Run) -> None:
    whole, scarce = Tables(quick_run), Tables(scarce_run)
    for table in ("firing_stats", "example_refs", "clamps", "completions"):
        expected = whole.read(table, "planted").to_pylist()
        found = scarce.read(table, "planted").to_pylist()
        assert len(found) == len(expected) > 0
        for old, new in zip(expected, found, strict=True):
            assert_close(new, old)


def assert_close(new: Any, old: Any) -> None:
    if isinstance(old, dict):
        for name, value in old.items():
            assert_close(new[name], value)
    elif isinstance(old, list):
        assert len(new) == len(old)
        for one, other in zip(new, old, strict=True):
            assert_close(one, other)
    elif isinstance(old, float):
        assert np.isclose(new, old, rtol=2e-3, atol=2e-3)
    else:
        assert new == old


def test_a_window_that_does_not_fit_is_one_sentence(
    quick_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_fits(self: Subject, rows: Any, *rest: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Subject, "residuals", none_fits)
    with pytest.raises(TaskError, match="not even one row of a pass fits into memory"):
        label(quick_config(tmp_path), run_local, Silent())


def test_halving_is_told_in_the_files_and_in_the_ledger(quick_run: Run, scarce_run: Run) -> None:
    store, told = Tables(scarce_run).store, set()
    for name in store.list(""):
        if name.endswith(".parquet") and "halved" in read_metadata(store, name):
            told.add(name.split("/")[2])
    assert {"firing_stats", "clamps", "token_change", "completions"} <= told
    ledger = [row for name in store.list("ledger/") for row in read_table(store, name).to_pylist()]
    assert any("halved" in (row["detail"] or "") for row in ledger), "by the task that halved"
    whole = Tables(quick_run).store
    assert not any(
        "halved" in read_metadata(whole, name)
        for name in whole.list("")
        if name.endswith(".parquet")
    )
