"""How busy the workers of each pool were, from the ledger: which pool should be larger."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.records.layout import LEDGER_POOLS
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.ledger import attempts
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.parquet import read_table


@dataclass(frozen=True)
class PoolUse:
    """One pool over the whole life of a run."""

    pool: str
    num_workers: float
    """On average over the time in which the run was driven."""
    worker_seconds: float
    """In which workers had their places, busy or not, summed over them."""
    busy_seconds: float
    """In which they worked; of LLM pools, seconds of their engines."""

    @property
    def busy_share(self) -> float:
        """Of the workers' time; at most 1, as a task that writes overlaps with the next one."""
        return min(1.0, self.busy_seconds / self.worker_seconds) if self.worker_seconds else 0.0


def pool_use(run: Run) -> list[PoolUse]:
    """One line per pool; none of a run that was never driven on Ray."""
    store, schema = Tables(run).store, TABLES["ledger_pools"].schema
    periods = [
        row
        for name in store.list(LEDGER_POOLS)
        for row in read_table(store, name, schema=schema).to_pylist()
    ]
    tried = [(_pool(row, run), row["started"].timestamp(), _busy_s(row)) for row in attempts(run)]
    used = []
    for pool in dict.fromkeys(row["pool"] for row in periods):
        mine = [row for row in periods if row["pool"] == pool]
        spans = [_span(row) for row in mine]
        # Attempts of a driver that kept no account of its workers say nothing of these.
        busy = sum(
            seconds
            for by, started, seconds in tried
            if by == pool and any(begun <= started < ended for begun, ended in spans)
        )
        seconds = sum(row["seconds"] for row in mine)
        lived = sum(row["worker_seconds"] for row in mine)
        used.append(PoolUse(pool, lived / seconds if seconds else 0.0, lived, busy))
    return used


def pool_table(used: Sequence[PoolUse]) -> Table:
    """The same for eyes."""
    table = Table(title="how busy the workers were", title_justify="left", box=None, pad_edge=False)
    table.add_column("pool")
    for name in ("workers\non average", "seconds\nof workers", "busy\nseconds", "busy"):
        table.add_column(name, justify="right")
    for use in used:
        table.add_row(
            use.pool,
            f"{use.num_workers:.1f}",
            f"{use.worker_seconds:,.0f}",
            f"{use.busy_seconds:,.0f}",
            f"{use.busy_share:.0%}",
        )
    return table


def pool_sentence(used: Sequence[PoolUse]) -> str:
    """The same in one line; empty where nothing is known."""
    parts = (f"{u.pool} {u.num_workers:.1f} ({u.busy_share:.0%} busy)" for u in used)
    return f"Workers on average: {', '.join(parts)}" if used else ""


def _span(period: Row) -> tuple[float, float]:
    started = period["started"].timestamp()
    return started, started + period["seconds"]


def _pool(attempt: Row, run: Run) -> str:
    """Where no judge is named, the explainer's engines judge too."""
    pool = step_named(attempt["step"]).pool
    return "llm" if pool == "judge" and run.config.judge is None else pool


def _busy_s(attempt: Row) -> float:
    asks = step_named(attempt["step"]).pool in LLM_POOLS
    seconds: float = attempt["engine_seconds"] if asks else attempt["seconds"]
    return seconds
