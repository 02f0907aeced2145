"""Virtual time: the real schedule driven by workers that are only counted, task by task.

Workers are chosen as cluster/pool.py chooses them, with its room and its work ahead. A subject
worker does one task after the other. An engine answers requests first come, first served, at its
token rate; a task is given to it while it holds less than two rooms of requests, and its tables are
read and written beside the others' answers. With one GPU the pools take turns, as `take_turns`.
"""

import heapq
import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass, field

from cluster_rates import Durations, Rates

from ray_autointerp.config import Config
from ray_autointerp.plan.estimate import expected_selection
from ray_autointerp.plan.schedule import Schedule
from ray_autointerp.plan.shards import Axes, objects_of
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.records.task import Task
from ray_autointerp.runs.loaded_models import SAES_HELD

_AHEAD = 2
"""As in cluster/pools.py: tasks of a subject worker, and rooms full of requests of an engine."""


@dataclass(frozen=True)
class Workers:
    """How many there are; `subject` and `llm` are GPUs."""

    subject: int
    llm: int
    cpu: int
    take_turns: bool = False


@dataclass
class Busy:
    """What a pool did, summed over its workers, in seconds."""

    work: float = 0.0
    """Computing."""
    overhead: float = 0.0
    """Tables read and written while a GPU waits."""
    loading: float = 0.0
    """SAEs read while a GPU waits."""
    before: float = 0.0
    """Until the first task begins: starting, and waiting for work."""
    after: float = 0.0
    """From the last task's end to the run's."""


@dataclass
class Ran:
    """One run in virtual time."""

    seconds: float
    num_tasks: int
    pools: dict[str, Busy]
    finished: dict[str, float] = field(default_factory=dict)
    """By step, when its last task ended."""


@dataclass(eq=False)
class _Worker:
    ready_at: float
    """When it has started."""
    free_at: float = 0.0
    load: int = 0
    """Requests (of a pool without an LLM: tasks) that it holds."""
    first: float = math.inf
    saes: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    """Those it holds."""


class _Pool:
    """The workers of one kind. The least busy one is given the next task."""

    def __init__(self, count: int, start_s: float, room: int, *, looks_at_saes: bool) -> None:
        self._room, self._looks_at_saes = room, looks_at_saes
        self.workers = [_Worker(start_s) for _ in range(count)]
        self.busy = Busy()
        self._order = itertools.count()
        self._heap: list[tuple[int, int, _Worker]] = []
        self.num_held = 0
        for worker in self.workers:
            self._push(worker)

    def restart(self, now: float, start_s: float) -> None:
        """All workers are new ones: their models are loaded again."""
        for worker in self.workers:
            worker.ready_at = now + start_s
            worker.saes.clear()

    def free(self) -> bool:
        """Whether a worker has room."""
        return self._least_busy() is not None

    def worker_for(self, task: Task) -> _Worker:
        """The least busy worker with room, of a few one that holds the task's SAE."""
        best = self._least_busy()
        assert best is not None
        if task.sae is None or not self._looks_at_saes or task.sae in best.saes:
            return best
        equal = (w for w in self.workers if w.load == best.load and task.sae in w.saes)
        return next(equal, best)

    def _least_busy(self) -> _Worker | None:
        while self._heap and self._heap[0][0] != self._heap[0][2].load:
            heapq.heappop(self._heap)  # its load has changed since
        if self._heap and self._heap[0][0] < self._room:
            return self._heap[0][2]
        return None

    def hold(self, worker: _Worker, number: int) -> None:
        """It is given that much more, or less."""
        worker.load += number
        self.num_held += 1 if number > 0 else -1
        self._push(worker)

    def _push(self, worker: _Worker) -> None:
        heapq.heappush(self._heap, (worker.load, next(self._order), worker))


class Run:
    """The schedule of a config, driven to its end by some workers."""

    def __init__(
        self,
        config: Config,
        axes: Axes,
        durations: Durations,
        rates: Rates,
        workers: Workers | None,
    ) -> None:
        """`workers` None is one for every task that is ready: what remains is the longest path."""
        self._axes, self._durations, self._rates = axes, durations, rates
        self._saes = tuple(axes.latents)
        self._selected = {s: expected_selection(config, len(r)) for s, r in axes.latents.items()}
        self._schedule = Schedule(config, axes)
        self._starts = {"subject": rates.subject_start_s, "llm": rates.engine_start_s, "cpu": 0.0}
        self._turn = "subject" if workers and workers.take_turns else None
        self._is_bound = workers is None
        self._most_of_a_room = config.llm.requests_in_flight
        room = {"subject": _AHEAD, "llm": _AHEAD * config.llm.requests_in_flight, "cpu": 1}
        counts = {name: 0 if workers is None else getattr(workers, name) for name in room}
        self._pools = {
            name: _Pool(
                counts[name], self._starts[name], room[name], looks_at_saes=name == "subject"
            )
            for name in room
        }
        self._events: list[tuple[float, int, str, _Worker, int, Task]] = []
        self._number = itertools.count()
        self._num_tasks = 0
        self._ended: dict[str, float] = {}

    def drive(self) -> Ran:
        """Until every object exists."""
        now = 0.0
        self._hand_out(now)
        while self._events:
            now, _, name, worker, number, task = heapq.heappop(self._events)
            self._ended[task.step] = now
            self._pools[name].hold(worker, -number)
            self._schedule.note_objects(objects_of(task, self._saes))
            if task.step == "select":
                for sae in self._schedule.unselected:
                    self._schedule.note_selection(sae, self._selected[sae])
            self._hand_out(now)
        assert self._schedule.finished(), "nothing is ready and nothing runs"
        for pool in self._pools.values():
            for worker in pool.workers:
                pool.busy.before += min(worker.first, now)
                pool.busy.after += 0.0 if worker.first == math.inf else now - worker.free_at
        return Ran(now, self._num_tasks, {n: p.busy for n, p in self._pools.items()}, self._ended)

    def _hand_out(self, now: float) -> None:
        self._give_what_is_ready(now)
        if self._turn is None or self._pools[self._turn].num_held:
            return
        other = "llm" if self._turn == "subject" else "subject"
        kinds = LLM_POOLS if other == "llm" else ("subject",)
        if self._schedule.num_ready(*kinds):  # the holder has nothing left to do
            self._turn = other
            self._pools[other].restart(now, self._starts[other])
            self._give_what_is_ready(now)

    def _give_what_is_ready(self, now: float) -> None:
        for name, pool in self._pools.items():
            if self._turn not in (None, name) and name != "cpu":
                continue
            kinds = LLM_POOLS if name == "llm" else (name,)
            while (self._is_bound or pool.free()) and (task := self._schedule.take(*kinds)):
                alone = _Worker(self._starts[name]) if self._is_bound else None
                self._begin(now, name, pool, alone or pool.worker_for(task), task)

    def _begin(self, now: float, name: str, pool: _Pool, worker: _Worker, task: Task) -> None:
        asked = self._durations.of(task)
        half = asked.overhead / 2
        start = max(now, worker.ready_at)
        if name == "llm":
            start = max(start + half, worker.free_at)
            worker.free_at = start + asked.work
            end = max(worker.free_at, max(now, worker.ready_at) + half + asked.answer) + half
        else:
            load_s = self._load_s(worker, task) if name == "subject" else 0.0
            start = max(start, worker.free_at)
            end = worker.free_at = start + load_s + asked.overhead + asked.work
            pool.busy.loading += load_s
            pool.busy.overhead += asked.overhead
        pool.busy.work += asked.work
        worker.first = min(worker.first, start)
        number = min(max(asked.requests, 1), self._most_of_a_room if name == "llm" else 1)
        pool.hold(worker, number)
        self._num_tasks += 1
        heapq.heappush(self._events, (end, next(self._number), name, worker, number, task))

    def _load_s(self, worker: _Worker, task: Task) -> float:
        """Seconds to read the task's SAE, unless the worker holds it."""
        if task.sae is None or self._is_bound:
            return 0.0
        is_held = task.sae in worker.saes
        worker.saes[task.sae] = None
        worker.saes.move_to_end(task.sae)
        while len(worker.saes) > SAES_HELD:
            worker.saes.popitem(last=False)
        return 0.0 if is_held else self._durations.sae_load_s()


def lower_bound(total: Ran, longest_path: float, num_gpus: int) -> float:
    """Seconds that no schedule of these tasks on so many GPUs can be below."""
    subject, llm = total.pools["subject"], total.pools["llm"]
    return max(longest_path, (subject.work + subject.overhead + llm.work) / num_gpus)
