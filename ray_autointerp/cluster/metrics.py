"""What Prometheus can ask of a run: counters and gauges on the metrics endpoint of Ray's nodes.

The driver alone writes them, from what the tracker reports; Ray puts `ray_` before each name and
`_total` after a counter's. Tags are the run, and a step, a pool or an outcome: never an SAE, a
latent, a shard or a worker, of which a run has thousands.
"""

from collections import Counter as Sums
from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge

from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.plan.shards import num_latents_of
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


class Metrics:
    """An Observer. What happens before Ray has started is not exported."""

    def __init__(self) -> None:
        self._latents_done = Counter(
            "autointerp_latents_done", "Latents of finished tasks.", ("run", "step")
        )
        self._tasks_ended = Counter(
            "autointerp_tasks_ended",
            "Attempts at tasks: done, failed, or why they were lost.",
            ("run", "step", "outcome"),
        )
        self._llm_requests = Counter(
            "autointerp_llm_requests", "Answers paid for.", ("run", "step")
        )
        self._llm_tokens = Counter(
            "autointerp_llm_tokens",
            "Tokens of those: of prompts, of prompts from the cache, generated.",
            ("run", "step", "kind"),
        )
        self._busy_seconds = Counter(
            "autointerp_busy_seconds",
            "Seconds that workers worked; of LLM pools, seconds of their engines.",
            ("run", "pool"),
        )
        self._tasks_ready = Gauge(
            "autointerp_tasks_ready", "Tasks that wait for a worker.", ("run", "pool")
        )

    def begun(self, run: Run) -> None:
        """Remember whose numbers these are."""
        self._run = run
        self._tables = Tables(run)

    def waits(self, reason: str) -> None:
        """Nothing: no task is under way."""

    def started(self, task: Task) -> None:
        """Nothing: the queue is known from `progress`."""

    def ended(self, receipt: Receipt) -> None:
        """Count the attempt, what it cost, and the latents that it was for."""
        task, usage = receipt.task, receipt.usage
        step = {"run": self._run.folder, "step": task.step}
        self._tasks_ended.inc(tags={**step, "outcome": receipt.outcome})
        pool = self._pool(step_named(task.step).pool)
        seconds = usage.engine_seconds if pool in LLM_POOLS else receipt.seconds
        _add(self._busy_seconds, seconds, {"run": self._run.folder, "pool": pool})
        _add(self._llm_requests, usage.num_requests, step)
        tokens = {
            "prompt": usage.num_prompt_tokens - usage.num_cached_tokens,
            "cached": usage.num_cached_tokens,
            "generated": usage.num_generated_tokens,
        }
        for kind, number in tokens.items():
            _add(self._llm_tokens, number, {**step, "kind": kind})
        if receipt.outcome == "done":
            _add(self._latents_done, self._num_latents(task), step)

    def progress(self, steps: Iterable[StepProgress]) -> None:
        """How many tasks of each pool wait for a worker."""
        ready: Sums[str] = Sums()
        for step in steps:
            ready[self._pool(step.pool)] += step.ready
        for pool, number in ready.items():
            self._tasks_ready.set(number, {"run": self._run.folder, "pool": pool})

    def _pool(self, name: str) -> str:
        """Where no judge is named, the explainer's engines judge too."""
        return "llm" if name == "judge" and self._run.config.judge is None else name

    def _num_latents(self, task: Task) -> int:
        """Latents of a task that is cut over latents; 0 of others."""
        selected = {}
        if step_named(task.step).split == "selection":
            assert task.sae is not None
            selected[task.sae] = self._tables.selected(task.sae)
        return num_latents_of(task, self._run.axes, selected)


def _add(counter: Counter, number: float, tags: dict[str, str]) -> None:
    """Ray refuses to count nothing."""
    if number > 0:
        counter.inc(number, tags)
