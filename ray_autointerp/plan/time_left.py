"""What is left of a run, in tasks and in seconds: one reckoning, for `status` and for the progress
display.

A shard of a step takes what the step's shards took so far. Of a step of which none was done, an LLM
request takes what one took in the other steps of its pool, and a shard without requests what a
shard of its pool took. Where no shard of a pool that can tell was done, what is left is not known,
and said so.
"""

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
    """What a run of this config and these latents has to do, as far as it is known before."""

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

    def left(self, steps: Iterable[MeasuredStep], num_at_once: float) -> Left:
        """What is left, where so many tasks are at work at the same time, on average."""
        steps = list(steps)
        totals = {step.progress.step: self._total(step.progress) for step in steps}
        rates = self._rates(steps)
        seconds, unmeasured = 0.0, []
        for step in steps:
            name = step.progress.step
            num_left = totals[name] - step.progress.done
            if not num_left:
                continue
            pool = self._pool(name)
            if step.seconds is not None:
                seconds += num_left * step.seconds
            elif pool in rates:
                seconds += num_left * self._work(name) * rates[pool]
            else:
                unmeasured.append(name)
        is_known = num_at_once > 0 and not unmeasured
        return Left(
            sum(step.progress.done for step in steps),
            sum(totals.values()),
            seconds / num_at_once if is_known else None,
            tuple(unmeasured),
        )

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
        return not self._num_requests.get(step) or self._work(step) >= _FEWEST_REQUESTS

    def _work(self, step: str) -> float:
        """Units of work in a shard: its requests, or itself."""
        requests = self._num_requests.get(step, 0)
        return requests / max(1, self._num_tasks[step]) if requests else 1.0

    def _pool(self, step: str) -> str:
        pool = step_named(step).pool
        return "llm" if pool == "judge" and not self._has_judge else pool
