"""How far a run is, who drives it, at what rate, and what is left: from the store alone."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ray_autointerp.plan.time_left import Left, MeasuredStep, Outlook
from ray_autointerp.reports.bill_table import bill
from ray_autointerp.reports.pool_table import pool_sentence, pool_use
from ray_autointerp.runs.lease import Driver, driver_of
from ray_autointerp.runs.ledger import attempts
from ray_autointerp.runs.progress import has_labels, schedule_of
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


@dataclass(frozen=True)
class Status:
    """A run as its store shows it."""

    run: Run
    is_finished: bool
    driver: Driver | None
    """Who has the lease; None where no one has."""
    steps: tuple[MeasuredStep, ...]
    num_failed: Counter[str]
    """Attempts that came to nothing, by outcome."""
    left: Left
    """At the rates seen so far."""
    bill: str
    pools: str = ""
    """How busy each pool's workers were; empty of a run without pools."""


def status(run: Run) -> Status:
    """The status of a run; of one that nobody drives, where it stopped."""
    tables, outlook = Tables(run), Outlook(run.config, run.axes)
    rows = attempts(run)
    ended_at = outlook.replay(
        (row["step"], row["started"].timestamp(), row["seconds"]) for row in rows
    )
    done = [row for row in rows if row["outcome"] == "done"]
    steps = []
    for progress in schedule_of(tables).progress():
        if progress.step not in run.steps:  # it is newer than the run
            continue
        seconds = [row["seconds"] for row in done if row["step"] == progress.step]
        steps.append(MeasuredStep(progress, sum(seconds) / len(seconds) if seconds else None))
    return Status(
        run,
        has_labels(tables.store, run.saes),
        driver_of(tables.store),
        tuple(steps),
        Counter(row["outcome"] for row in rows if row["outcome"] != "done"),
        outlook.left(steps, ended_at),
        bill(run).sentence,
        pool_sentence(pool_use(run)),
    )


def status_table(of: Status) -> Group:
    """The same for eyes."""
    table = Table(box=None, pad_edge=False)
    table.add_column("step", no_wrap=True)
    for name in ("shards", "done", "seconds a shard"):
        table.add_column(name, justify="right")
    for step in of.steps:
        total, seconds = step.progress.total, step.seconds
        table.add_row(
            step.progress.step,
            "?" if total is None else f"{total:,}",
            f"{step.progress.done:,}",
            "" if seconds is None else f"{seconds:.1f}",
        )
    lines = filter(None, chain(_failed(of), [of.bill, of.pools]))
    return Group(Text(sentence(of)), table, *map(Text, lines))


def sentence(of: Status) -> str:
    """How far it is, who drives it and what is left."""
    name = f"{of.run.uri}: "
    if of.is_finished:
        return f"{name}finished."
    left = of.left
    share = left.num_done / max(1, left.num_tasks)
    parts = [f"{name}{left.num_done:,} of {left.num_tasks:,} tasks are done ({share:.0%})."]
    if of.driver is None:
        parts.append("Nobody drives it: the command that began it continues it.")
    elif of.driver.is_known_dead:
        parts.append(f"Its driver, {of.driver}, is dead: the command that began it continues it.")
    else:
        parts.append(f"It is driven by {of.driver}.")
    if left.seconds is not None:
        parts.append(f"About {timedelta(seconds=round(left.seconds))} left at the rates so far.")
    elif left.unmeasured:
        parts.append(f"What is left is not known before a task of {left.unmeasured[0]} is done.")
    return " ".join(parts)


def _failed(of: Status) -> Iterable[str]:
    if of.num_failed:
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in of.num_failed.items())
        yield f"Attempts that came to nothing: {outcomes}."
