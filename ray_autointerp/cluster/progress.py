"""What a person watches: one line per step with its shards, rate and time left.

In a terminal a live Rich display; elsewhere (a log, a job's output) one plain line whenever a
step begins or ends. Reads only what the tracker reports.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.records.task import Task
from ray_autointerp.runs.inheritance import most_requests
from ray_autointerp.runs.run import Run

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
        self._begun = time.monotonic()
        self._live = (
            Live(console=console, refresh_per_second=4, get_renderable=self._table)
            if console.is_terminal
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
        """Say what a run with a parent takes over, and what it may still cost."""
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
        self._running[task.step] += 1
        self._first_start.setdefault(task.step, time.monotonic())
        self._say(task.step, "begins", "")

    def ended(self, receipt: Receipt) -> None:
        """The attempt ended, well or not."""
        step = receipt.task.step
        self._running[step] -= 1
        self._num_ended[step] += 1
        self._seconds[step] += receipt.seconds
        self._last_end[step] = time.monotonic()
        if receipt.outcome != "done":
            self._console.print(
                f"[yellow]{receipt.task.name}: {receipt.outcome}; it is tried again if that can "
                f"help[/yellow]"
            )

    def progress(self, steps: Iterable[StepProgress]) -> None:
        """How far every step is."""
        self._steps = list(steps)
        for step in self._steps:
            if step.total and step.done == step.total and self._num_ended[step.step]:
                wall = self._last_end[step.step] - self._first_start[step.step]
                self._say(step.step, "done", f", {step.total} shard(s) in {wall:.1f} s")

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
        for step in self._steps:
            table.add_row(
                Text(step.step, style=_COLOURS[step.pool]),
                ProgressBar(total=step.total or 1, completed=step.done, width=24),
                f"{step.done}/{'?' if step.total is None else step.total}",
                str(self._running[step.step] or ""),
                self._rate(step),
                self._left(step),
            )
        elapsed = time.monotonic() - self._begun
        pools = "  ".join(f"[{colour}]{pool}[/]" for pool, colour in _COLOURS.items())
        return Group(table, Text.from_markup(f"{elapsed:.0f} s   workers: {pools}", style="dim"))

    def _rate(self, step: StepProgress) -> str:
        return f"{self._mean(step):.1f} s a shard" if self._num_ended[step.step] else ""

    def _left(self, step: StepProgress) -> str:
        if step.total is None or step.done == step.total or not self._num_ended[step.step]:
            return "done" if step.total == step.done and step.total else ""
        at_once = max(1, self._running[step.step])
        return f"{self._mean(step) * (step.total - step.done) / at_once:.0f} s"

    def _mean(self, step: StepProgress) -> float:
        return self._seconds[step.step] / self._num_ended[step.step]


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
