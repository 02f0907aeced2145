"""What is left of a run, in tasks and in seconds: one reckoning, for `status` and for the progress
display.

A shard of a step takes what the step's shards took so far. Of a step of which none was done, an LLM
request takes what one took in the other steps of its pool, and a shard without requests what a
shard of its pool took. Where no shard of a pool that can tell was done, what is left is not known,
and said so.

Each pool does as many tasks at the same time as it did so far, and as many pools work at the same
time as did.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ray_autointerp.config import Config
from ray_autointerp.plan.estimate import asked_about, expected_selection
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.plan.shards import Axes, methods_of, tasks_of

_FEWEST_REQUESTS = 4
"""Of a shard that tells what a request of other steps takes. With fewer at once (`judge_check` asks
two, while the engine starts) one takes many times as long as in a batch."""

_CHOICES_PER_TEXT = 8
"""Answers of one token that take as long as one text: 4 (sentences) to 8 (descriptions) were
measured, with a 1.5B model on a CPU."""


@dataclass(frozen=True)
class MeasuredStep:
    """One step of a run under way."""

    progress: StepProgress
    seconds: float | None
    """Of a shard, on average; None where none was done."""

    @property
    def num_left(self) -> int | None:
        """Shards that are not done; None while their number is not known."""
        total = self.progress.total
        return None if total is None else total - self.progress.done


@dataclass(frozen=True)
class Left:
    """How far a run is as a whole."""

    num_done: int
    num_tasks: int
    """With those that a selection which is not made yet is foreseen to add, at most."""
    seconds: float | None
    """None where it cannot be reckoned yet."""
    unmeasured: tuple[str, ...]
    """Steps that are left, of which nothing tells how long they take."""

    @property
    def sentence(self) -> str:
        """`about 0:12:30 left (40 of 120 tasks)`, or that it is not known yet."""
        time = (
            "left: not known yet"
            if self.seconds is None
            else f"about {timedelta(seconds=round(self.seconds))} left"
        )
        return f"{time} ({self.num_done:,} of {self.num_tasks:,} tasks)"


class Outlook:
    """What a run of this config and these latents has to do, as far as it is known before, and how
    much of it goes on at the same time.
    """

    def __init__(self, config: Config, axes: Axes) -> None:
        self._has_judge = config.judge is not None
        selected = {sae: expected_selection(config, len(r)) for sae, r in axes.latents.items()}
        self._num_tasks: Mapping[str, int] = {
            step.name: len(tasks_of(step, config, axes, selected) or ()) for step in FLOW
        }
        self._num_requests: Mapping[str, int] = {
            step.name: sum(
                sum(asked_about(step, method, config, axes)) for method in methods_of(step, config)
            )
            for step in FLOW
            if step.requests
        }
        self._at_work: Counter[str] = Counter()
        """Tasks by pool, at the last start or end of one."""
        self._clock = 0.0
        self._task_seconds: defaultdict[str, float] = defaultdict(float)
        self._busy_seconds: defaultdict[str, float] = defaultdict(float)
        """By pool, with at least one task at work."""
        self._run_seconds = 0.0
        """With at least one task of any pool at work."""

    def started(self, step: str, at: float) -> None:
        """A task of this step began, at a time in seconds of any clock that does not go back."""
        self._pass_to(at)
        self._at_work[self._pool(step)] += 1

    def ended(self, step: str, at: float) -> None:
        """A task of this step that had begun ended, well or not."""
        self._pass_to(at)
        self._at_work[self._pool(step)] -= 1

    def replay(self, attempts: Iterable[tuple[str, float, float]]) -> float:
        """Steps, starts and seconds of attempts that are over, in any order; their last end."""
        events = []
        for step, start, seconds in attempts:
            events += [(start, True, step), (start + seconds, False, step)]
        for at, is_start, step in sorted(events):
            (self.started if is_start else self.ended)(step, at)
        return self._clock

    def left(self, steps: Iterable[MeasuredStep], at: float) -> Left:
        """What is left at a time of the same clock."""
        self._pass_to(at)
        steps = list(steps)
        totals = {step.progress.step: self._total(step.progress) for step in steps}
        rates = self._rates(steps)
        seconds: defaultdict[str, float] = defaultdict(float)
        unmeasured = []
        for step in steps:
            name = step.progress.step
            num_left = totals[name] - step.progress.done
            if not num_left:
                continue
            pool = self._pool(name)
            if step.seconds is not None:
                seconds[pool] += num_left * step.seconds
            elif pool in rates:
                seconds[pool] += num_left * self._work(name) * rates[pool]
            elif pool != "cpu":  # what no model runs for is short: not worth not knowing the rest
                unmeasured.append(name)
        return Left(
            sum(step.progress.done for step in steps),
            sum(totals.values()),
            None if unmeasured else self._shared(seconds),
            tuple(unmeasured),
        )

    def _pass_to(self, at: float) -> None:
        passed, self._clock = at - self._clock, at
        busy = {pool: number for pool, number in self._at_work.items() if number}
        for pool, number in busy.items():
            self._task_seconds[pool] += number * passed
            self._busy_seconds[pool] += passed
        self._run_seconds += passed if busy else 0.0

    def _shared(self, seconds: Mapping[str, float]) -> float | None:
        """Seconds until the last pool ends, of the seconds that the tasks of each take together.

        None where a pool with something left was never seen at work.
        """
        if not seconds:
            return 0.0
        if any(not self._task_seconds[pool] for pool in seconds):
            return None
        alone = [
            of * self._busy_seconds[pool] / self._task_seconds[pool] for pool, of in seconds.items()
        ]
        pools_at_once = sum(self._busy_seconds.values()) / self._run_seconds
        return max(sum(alone) / pools_at_once, *alone)

    def _total(self, progress: StepProgress) -> int:
        if progress.total is not None:
            return progress.total
        return max(progress.done, self._num_tasks.get(progress.step, 0))

    def _rates(self, steps: Iterable[MeasuredStep]) -> dict[str, float]:
        """By pool, seconds of a unit of work, on average over what was done."""
        work: dict[str, float] = {}
        seconds: dict[str, float] = {}
        for step in steps:
            name, done = step.progress.step, step.progress.done
            if step.seconds is not None and done and self._tells_of_others(name):
                pool = self._pool(name)
                work[pool] = work.get(pool, 0.0) + done * self._work(name)
                seconds[pool] = seconds.get(pool, 0.0) + done * step.seconds
        return {pool: seconds[pool] / of for pool, of in work.items() if of}

    def _tells_of_others(self, step: str) -> bool:
        requests = self._requests(step)
        return not requests or requests >= _FEWEST_REQUESTS

    def _work(self, step: str) -> float:
        """Units of work in a shard: its requests, those for texts counted as more, or itself."""
        is_judgement = step_named(step).pool == "judge"
        return self._requests(step) * (1 if is_judgement else _CHOICES_PER_TEXT) or 1.0

    def _requests(self, step: str) -> float:
        """Of a shard, on average; 0 where no LLM is asked."""
        return self._num_requests.get(step, 0) / max(1, self._num_tasks[step])

    def _pool(self, step: str) -> str:
        pool = step_named(step).pool
        return "llm" if pool == "judge" and not self._has_judge else pool
