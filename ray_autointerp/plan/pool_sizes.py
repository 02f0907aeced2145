"""How many workers each pool should have, so that the run ends first.

Pure: given the nodes, what a worker of each pool takes, bounds, and the work that is left. A
worker more goes to the pool that would end last; a pool never gets more than have tasks.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ray_autointerp.plan.placement import Node, Packing, Want
from ray_autointerp.plan.schedule import StepProgress

UNBOUNDED = 100_000
"""The largest size of a pool that the cluster alone bounds."""


@dataclass(frozen=True)
class Demand:
    """What a pool may have and what it has to do."""

    want: Want
    least: int
    most: int
    work: float = 0.0
    """Worker-seconds that are left; of several pools, in any one unit."""
    usable: int = 0
    """Workers that its ready tasks and those under way can keep busy."""


def sizes(nodes: Iterable[Node], demands: Mapping[str, Demand]) -> dict[str, int]:
    """The size of each pool: one at least, the smallest sizes if they fit, then by the work left.

    `nodes` must hold one worker of each pool (see `lack` in plan/placement.py).
    """
    packing = Packing(nodes)
    found = dict.fromkeys(demands, 1)
    hardest = sorted(demands, key=lambda name: _hardness(demands[name].want), reverse=True)
    for name in hardest:
        packing.add(demands[name].want)
    short = {name for name in demands if demands[name].least > 1}
    while short:
        name = min(sorted(short), key=lambda name: found[name] / demands[name].least)
        if packing.add(demands[name].want):
            found[name] += 1
        else:
            short.discard(name)
        if found[name] == demands[name].least:
            short.discard(name)
    growing = {name for name, demand in demands.items() if found[name] < _most(demand)}
    while growing:
        # Ties go to the first by name, so that the same work gives the same sizes.
        name = max(sorted(growing), key=lambda name: demands[name].work / found[name])
        if packing.add(demands[name].want):
            found[name] += 1
        else:
            growing.discard(name)
        if found[name] >= _most(demands[name]):
            growing.discard(name)
    return found


def gain(demands: Mapping[str, Demand], now: Mapping[str, int], target: Mapping[str, int]) -> float:
    """Seconds by which the pools whose sizes differ would end earlier at the target."""
    moved = [name for name in demands if now[name] != target[name]]

    def finish(of: Mapping[str, int]) -> float:
        return max((demands[name].work / max(1, of[name]) for name in moved), default=0.0)

    return finish(now) - finish(target)


class Durations:
    """What a task of each step takes of its worker, as measured in this run."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def note(self, step: str, seconds: float) -> None:
        """A task of the step was done."""
        kept = self._seconds[step]
        kept[0] += seconds
        kept[1] += 1

    def work_left(
        self, pools: Mapping[str, Sequence[str]], steps: Iterable[StepProgress]
    ) -> tuple[dict[str, float], bool]:
        """Worker-seconds left of each pool, and whether they are that.

        `pools` has the step pools that each serves. A step that was not measured takes what its
        pool's others do; until every pool that has work was measured, all are held to have the
        same, and the numbers mean nothing else.
        """
        steps = list(steps)
        left: dict[str, float] = {}
        unmeasured = set()
        for name, served in pools.items():
            mine = [step for step in steps if step.pool in served]
            known = [self._seconds[step.step] for step in mine if step.step in self._seconds]
            usual = sum(s for s, _ in known) / max(1.0, sum(n for _, n in known))
            if not known and any(_num_left(step) for step in mine):
                unmeasured.add(name)
            left[name] = sum(_num_left(step) * self._mean(step.step, usual) for step in mine)
            if name in unmeasured:
                left[name] = 1.0
        if unmeasured:
            return {name: float(work > 0) for name, work in left.items()}, False
        return left, True

    def _mean(self, step: str, usual: float) -> float:
        if step not in self._seconds:
            return usual
        seconds, number = self._seconds[step]
        return seconds / number


def _most(demand: Demand) -> int:
    """Beyond its smallest size a pool has no more workers than have tasks."""
    return min(demand.most, demand.usable) if demand.work > 0 else 0


def _num_left(step: StepProgress) -> int:
    """Of a step whose size is not known yet, nothing can be ready."""
    return 0 if step.total is None else step.total - step.done


def _hardness(want: Want) -> tuple[bool, float, float]:
    return bool(want.labels), want.gpus, want.cpus
