"""The ledger of a run: every attempt at a task, with clock, host and cost."""

from datetime import date

from ray_autointerp.plan.flow import FLOW
from ray_autointerp.records.layout import LEDGER_POOLS
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.parquet import read_table


def attempts(run: Run) -> list[Row]:
    """Every attempt that the ledger has, as a row of its table."""
    store, schema = Tables(run).store, TABLES["ledger"].schema
    names = [name for name in store.list("ledger/") if not name.startswith(LEDGER_POOLS)]
    return [row for name in names for row in read_table(store, name, schema=schema).to_pylist()]


def labelled_on(run: Run, sae: str) -> date | None:
    """The day (UTC) on which the last labels of an SAE were made; None if the ledger lacks it."""
    days = [
        row["started"].date()
        for row in attempts(run)
        if (row["step"], row["sae"], row["outcome"]) == (FLOW[-1].name, sae, "done")
    ]
    return max(days, default=None)
