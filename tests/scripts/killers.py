"""Who kills processes at work, as the kernel would, and how they are found."""

import contextlib
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.records.task import Task

_PATIENCE_S = 240


def processes(title: str) -> list[int]:
    """Descendants of this process whose command line holds the title.

    Ray names an actor's process after the method that it runs, vLLM its engine `VLLM::EngineCore`.
    """
    found = []
    for pid in _descendants():
        with contextlib.suppress(OSError):
            if title.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _descendants() -> list[int]:
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            children[int(parent)].append(int(folder.name))
    found = list(children[os.getpid()])
    for pid in found:
        found += children[pid]
    return found


class Killer(Silent):
    """An observer that kills one process for each plan: `(step, title)` kills a process of that
    title once a task of the step has begun and `is_time` says so."""

    def __init__(self, *plans: tuple[str, str], is_time: Callable[[], bool] = lambda: True) -> None:
        self._plans = list(plans)
        self._is_time = is_time
        self.num_killed = 0
        self.lost: list[Receipt] = []

    def started(self, task: Task) -> None:
        for plan in [plan for plan in self._plans if plan[0] == task.step]:
            self._plans.remove(plan)
            threading.Thread(target=self._kill, args=(plan[1],), daemon=True).start()

    def ended(self, receipt: Receipt) -> None:
        if receipt.outcome != "done":
            self.lost.append(receipt)

    def _kill(self, title: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self._is_time():
                for pid in processes(title):
                    os.kill(pid, signal.SIGKILL)
                    self.num_killed += 1
                    return
            time.sleep(0.005)
