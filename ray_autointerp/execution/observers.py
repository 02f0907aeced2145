"""Several observers of a run, notified one after another."""

from collections.abc import Iterable

from ray_autointerp.execution.tracker import Observer, Receipt
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run


class Observers:
    """An Observer that notifies others."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def begun(self, run: Run) -> None:
        """The run begins, or goes on."""
        for observer in self._observers:
            observer.begun(run)

    def waits(self, reason: str) -> None:
        """The run cannot begin yet, or some of its tasks wait."""
        for observer in self._observers:
            observer.waits(reason)

    def started(self, task: Task) -> None:
        """A worker took the task."""
        for observer in self._observers:
            observer.started(task)

    def ended(self, receipt: Receipt) -> None:
        """The attempt ended, well or not."""
        for observer in self._observers:
            observer.ended(receipt)

    def progress(self, steps: Iterable[StepProgress]) -> None:
        """How far every step is."""
        steps = list(steps)
        for observer in self._observers:
            observer.progress(steps)
