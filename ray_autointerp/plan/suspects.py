"""Which tasks may be what a worker died of, and how each is tried again: pure decisions.

When a worker or its engine dies, every task it held is a suspect. Suspects run again,
one at a time on a probe; only deaths alone count. A task that dies alone asks fewer and fewer
requests at once, until one request alone has killed twice and is quarantined (runs/answers.py);
then the task begins again, without it. A task that kills no worker ends on the probe.
"""

from collections import deque
from collections.abc import Iterable

from ray_autointerp.records.task import Task

Width = int | None
"""Requests of a task in flight at once; None is all of them."""

NARROWING: tuple[Width, ...] = (None, 16, 1, 1)
"""What a task may do at its first, second, ... try alone. One request that kills takes it through
all of them, and the next try finds it quarantined and starts over. Answers are kept batch by batch,
so that no more than a batch is asked one by one."""


class Suspects:
    """The tasks that wait for the probe, first come first served."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._deaths_alone: dict[Task, int] = {}

    def __bool__(self) -> bool:
        """Whether some task is still under suspicion, waiting or on the probe."""
        return bool(self._deaths_alone)

    def __contains__(self, task: Task) -> bool:
        return task in self._deaths_alone

    def accuse(self, tasks: Iterable[Task]) -> None:
        """These were held by a worker that died. One that was alone on the probe has died alone."""
        for task in tasks:
            if task in self._deaths_alone:
                self._deaths_alone[task] += 1
            else:
                self._deaths_alone[task] = 0
            if task not in self._waiting:
                self._waiting.append(task)

    def clear(self, task: Task) -> None:
        """The task ended, or failed for a reason of its own: it killed no worker."""
        self._deaths_alone.pop(task, None)
        if task in self._waiting:
            self._waiting.remove(task)

    def next(self) -> tuple[Task, Width] | None:
        """The task to run alone now, and its width; None if none waits."""
        if not self._waiting:
            return None
        task = self._waiting.popleft()
        return task, NARROWING[self._deaths_alone[task] % len(NARROWING)]

    @property
    def num_waiting(self) -> int:
        """Tasks that no probe runs at this moment."""
        return len(self._waiting)

    def put_back(self, task: Task) -> None:
        """No probe was free for what `next` gave: it waits on, behind the others."""
        self._waiting.append(task)

    def num_rounds(self, task: Task) -> int:
        """How often the task went through all widths: requests of it that were quarantined."""
        return self._deaths_alone.get(task, 0) // len(NARROWING)
