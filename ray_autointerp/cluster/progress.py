"""What a person watches: one line per step with its shards, rate and time left, and the whole run.

In a terminal a live Rich display of no more rows than it has; elsewhere (a log, a job's output, a
dumb terminal) one plain line whenever a step begins or ends, and what is left of the run at most
every minute. Reads only what the tracker reports.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ray_autointerp.errors import AutointerpError
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.forecast import Forecast
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.plan.time_left import MeasuredStep, Outlook
from ray_autointerp.records.task import Task
from ray_autointerp.reports.announcement import run_lines
from ray_autointerp.runs.inheritance import most_requests
from ray_autointerp.runs.ledger import attempts
from ray_autointerp.runs.progress import has_labels
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row
from ray_autointerp.storage.store import Store, open_store

_LINE_S = 60.0
"""In a log, what is left of the run is said no more often."""

_OTHER_ROWS = 5
"""Beside those of steps: titles, what is not shown, pools, the whole run, the cursor."""

_COLOURS = {"cpu": "cyan", "subject": "magenta", "llm": "green", "judge": "yellow"}


class Progress:
    """An Observer. Use it as a context manager around the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: list[StepProgress] = []
        self._running: Counter[str] = Counter()
        self._num_ended: Counter[str] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)
        """By step, of all attempts that ended together."""
        self._first_start: dict[str, float] = {}
        self._last_end: dict[str, float] = {}
        self._said: set[tuple[str, str]] = set()
        self._outlook: Outlook | None = None
        self._begun = self._last_line = time.monotonic()
        is_live = console.is_terminal and not console.is_dumb_terminal
        self._live = (
            Live(console=console, refresh_per_second=4, get_renderable=self._table)
            if is_live
            else None
        )

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def begun(self, run: Run) -> None:
        """Say what the run will do and cost; of one with a parent, what it takes over."""
        store = open_store(run.uri)
        if has_labels(store, run.saes):
            return
        self._outlook = Outlook(run.config, run.axes)
        self._recall(attempts(run))
        for line in run_lines(run, _foreseen(run, store)):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if run.config.run.parent is not None:
            self._console.print(
                f"{run.folder} follows {run.config.run.parent}. Beyond what it takes over it asks "
                f"the LLM at most {most_requests(run):,} times; what {run.config.run.parent} asked "
                "the same LLM is not asked again.",
                markup=False,
            )
        for folder in dict.fromkeys(run.inherits.values()):
            found = {node.partition("/")[0] for node, of in run.inherits.items() if of == folder}
            steps = ", ".join(step.name for step in FLOW if step.name in found)
            self._console.print(f"Taken over from {run.sibling(folder)}: {steps}.", markup=False)

    def waits(self, reason: str) -> None:
        """Say why nothing happens, of the whole run or of some tasks."""
        self._console.print(reason, markup=False)

    def started(self, task: Task) -> None:
        """A worker took the task."""
        now = time.monotonic()
        self._running[task.step] += 1
        if self._outlook:
            self._outlook.started(task.step, now)
        self._first_start.setdefault(task.step, now)
        self._say(task.step, "begins", "")

    def ended(self, receipt: Receipt) -> None:
        """The attempt ended, well or not."""
        step = receipt.task.step
        self._running[step] -= 1
        self._num_ended[step] += 1
        self._seconds[step] += receipt.seconds
        self._last_end[step] = now = time.monotonic()
        if self._outlook:
            self._outlook.ended(step, now)
        if receipt.outcome != "done":
            self._console.print(
                f"[yellow]{receipt.task.name}: {receipt.outcome}; it is tried again if that can "
                f"help[/yellow]"
            )

    def progress(self, steps: Iterable[StepProgress]) -> None:
        """How far every step is."""
        self._steps = list(steps)
        for step in self._steps:
            if step.total and step.done == step.total and step.step in self._last_end:
                wall = self._last_end[step.step] - self._first_start[step.step]
                self._say(step.step, "done", f", {step.total} shard(s) in {wall:.1f} s")
        if self._live is None and time.monotonic() - self._last_line >= _LINE_S:
            self._last_line = time.monotonic()
            self._console.print(self._whole(), markup=False, highlight=False, soft_wrap=True)

    def _recall(self, rows: Iterable[Row]) -> None:
        """Go on from what the ledger has of a run that stopped."""
        assert self._outlook is not None
        rows, since = list(rows), time.monotonic() - time.time()
        self._outlook.replay(
            (row["step"], row["started"].timestamp() + since, row["seconds"]) for row in rows
        )
        for row in rows:
            if row["outcome"] == "done":
                self._num_ended[row["step"]] += 1
                self._seconds[row["step"]] += row["seconds"]

    def _say(self, step: str, event: str, detail: str) -> None:
        """One plain line per step and event, where there is no live display."""
        if self._live is None and (step, event) not in self._said:
            self._said.add((step, event))
            elapsed = time.monotonic() - self._begun
            self._console.print(f"[{elapsed:7.1f} s] {step} {event}{detail}", markup=False)

    def _table(self) -> Group:
        table = Table.grid(padding=(0, 2))
        titles = ("step", "", "shards", "now", "rate", "left")
        for _ in titles:
            table.add_column()
        table.add_row(*(Text(title, style="dim") for title in titles))
        shown, left_out = self._fitting()
        for step in shown:
            table.add_row(
                Text(step.step, style=_COLOURS[step.pool]),
                ProgressBar(total=step.total or 1, completed=step.done, width=24),
                f"{step.done}/{'?' if step.total is None else step.total}",
                str(self._running[step.step] or ""),
                self._rate(step),
                self._left(step),
            )
        pools = "  ".join(f"[{colour}]{pool}[/]" for pool, colour in _COLOURS.items())
        lines = [Text.from_markup(f"workers: {pools}", style="dim"), Text(self._whole())]
        if left_out:
            lines.insert(0, Text(left_out, style="dim"))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(table, *lines)

    def _fitting(self) -> tuple[list[StepProgress], str]:
        """The steps that there is room for, those under way first, and a count of the others."""
        room = self._console.height - _OTHER_ROWS
        if len(self._steps) <= room:
            return self._steps, ""
        done = [s for s in self._steps if s.done == s.total]
        under_way = [s for s in self._steps if s not in done and (s.done or self._running[s.step])]
        num_to_come = len(self._steps) - len(done) - len(under_way)
        shown = under_way[: max(1, room)]
        counts = {"under way": len(under_way) - len(shown), "to come": num_to_come}
        others = [f"{number} {what}" for what, number in counts.items() if number]
        return shown, ", ".join([f"steps not shown: {len(done)} done", *others])

    def _whole(self) -> str:
        """How long the run has gone on, and what is left of it."""
        now = time.monotonic()
        elapsed = f"{timedelta(seconds=round(now - self._begun))} elapsed"
        if self._outlook is None:
            return elapsed
        steps = [
            MeasuredStep(step, self._mean(step) if self._num_ended[step.step] else None)
            for step in self._steps
        ]
        return f"{elapsed}, {self._outlook.left(steps, now).sentence}"

    def _rate(self, step: StepProgress) -> str:
        return f"{self._mean(step):.1f} s a shard" if self._num_ended[step.step] else ""

    def _left(self, step: StepProgress) -> str:
        if step.total is None or step.done == step.total or not self._num_ended[step.step]:
            return "done" if step.total == step.done and step.total else ""
        at_once = max(1, self._running[step.step])
        return f"{self._mean(step) * (step.total - step.done) / at_once:.0f} s"

    def _mean(self, step: StepProgress) -> float:
        return self._seconds[step.step] / self._num_ended[step.step]


def _foreseen(run: Run, store: Store) -> Forecast | None:
    """What the whole run asks its LLM; None of a run that goes on, or takes most of it over, and
    where it cannot be known: whatever prevents that, the run's first tasks end with its sentence.
    """
    if run.config.run.parent is not None or store.list("ledger/"):
        return None
    from ray_autointerp.preflight.forecast import forecast  # renders prompts, so it loads them all

    try:
        return forecast(run.config, run.axes)
    except AutointerpError:
        return None


class Silent:
    """An Observer that shows nothing."""

    def begun(self, run: Run) -> None:
        """Nothing."""

    def waits(self, reason: str) -> None:
        """Nothing."""

    def started(self, task: Task) -> None:
        """Nothing."""

    def ended(self, receipt: Receipt) -> None:
        """Nothing."""

    def progress(self, steps: Iterable[StepProgress]) -> None:
        """Nothing."""
