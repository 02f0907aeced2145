"""A finished run done again from some step on, with tables or settings changed in between."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray_autointerp.plan.flow import step_named
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row
from ray_autointerp.storage.parquet import read_table, write_table
from ray_autointerp.storage.store import open_store


def copied(run: Run, folder: Path, steps: Iterable[str], **changes: dict[str, Any]) -> Run:
    """A copy that lacks what these steps wrote, all answers and the labels.

    Changes are of the config: copied(run, folder, ["publish"], score={"num_draws": 1}).
    """
    shutil.copytree(run.uri, folder)
    for step in steps:
        for table in step_named(step).writes:
            for found in folder.glob(f"**/{table}"):
                shutil.rmtree(found)
    for found in folder.glob("**/labels*"):
        shutil.rmtree(found) if found.is_dir() else found.unlink()
    shutil.rmtree(folder / "answers", ignore_errors=True)
    sections = {
        name: getattr(run.config, name).model_copy(update=values)
        for name, values in changes.items()
    }
    return replace(run, uri=str(folder), config=run.config.model_copy(update=sections))


def rewritten(run: Run, table: str, change: Callable[[Row], Row]) -> None:
    """Write every part of a table of a copy anew, each row as `change` returns it."""
    store, kind = open_store(run.uri), TABLES[table.split("/")[0]]
    names = [name for name in store.list("") if f"/{table}/" in name]
    assert names, f"the run has no {table}"
    for name in sorted(names):
        part = read_table(store, name)
        rows = [change(row) for row in part.to_pylist()]
        (Path(run.uri) / name).unlink()
        table_again = type(part).from_pylist(rows, schema=part.schema)
        write_table(store, name, table_again, part.schema, {}, key=kind.key)
