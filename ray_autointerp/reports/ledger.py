"""Where the time of a run went: seconds of each step and of its engines, from the ledger."""

from dataclasses import dataclass, fields

from rich.table import Table

from ray_autointerp.plan.flow import FLOW
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.ledger import attempts
from ray_autointerp.runs.run import Run


@dataclass(frozen=True)
class StepTime:
    """Attempts at one step over the whole life of a run."""

    step: str
    num_done: int
    num_failed: int
    seconds: float
    """Summed over attempts; steps of different pools run at the same time."""


def step_times(run: Run) -> list[StepTime]:
    """One line per step that was ever tried, in the flow's order."""
    rows = attempts(run)
    times = []
    for step in FLOW:
        mine = [row for row in rows if row["step"] == step.name]
        if mine:
            done = sum(row["outcome"] == "done" for row in mine)
            seconds = sum(row["seconds"] for row in mine)
            times.append(StepTime(step.name, done, len(mine) - done, seconds))
    return times


def usage_by_method(run: Run) -> dict[tuple[str, str], Usage]:
    """What every attempt that the ledger has was paid for, by (step, method)."""
    sums: dict[tuple[str, str], Usage] = {}
    for row in attempts(run):
        usage = Usage(**{field.name: row[field.name] for field in fields(Usage)})
        if usage != Usage():
            key = row["step"], row["method"]
            sums[key] = sums.get(key, Usage()) + usage
    return sums


def time_table(times: list[StepTime]) -> Table:
    """The same for eyes."""
    table = Table(title="seconds of each step", title_justify="left", box=None, pad_edge=False)
    for name in ("step", "shards", "seconds"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for time in times:
        failed = f" (+{time.num_failed} failed)" if time.num_failed else ""
        table.add_row(time.step, f"{time.num_done}{failed}", f"{time.seconds:.1f}")
    return table
