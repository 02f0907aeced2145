"""What the LLM requests of one process cost, and the limit on it.

Every request is asked through it. An engine is billed to the tasks that kept it busy. It knows
when the ceiling of the run is reached. One instance serves all tasks of a worker.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ray_autointerp.config import Config, LLMSection
from ray_autointerp.errors import OverBudget
from ray_autointerp.llm.client import Answer, LLMClient, Request
from ray_autointerp.plan.bill import ceiling_reached
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.step import Pool
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage


class EngineClock:
    """Seconds of an engine, shared evenly among the requests it works on at each moment.

    The shares of all requests add up to the time in which the engine had any.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since = now()
        self._num_requests = 0
        self._share = 0.0
        """Seconds that a request would have been billed that was there from the beginning."""

    @contextmanager
    def working(self, bill: Callable[[float], None]) -> Iterator[None]:
        """The engine works on a request meanwhile; `bill` is called with its share of seconds."""
        self._turn(1)
        before = self._share
        try:
            yield
        finally:
            self._turn(-1)
            bill(self._share - before)

    def _turn(self, change: int) -> None:
        now = self._now()
        if self._num_requests:
            self._share += (now - self._since) / self._num_requests
        self._since = now
        self._num_requests += change


class _Account:
    """One section's engine: its clock, its room, its sums."""

    def __init__(self, section: LLMSection) -> None:
        self.clock = EngineClock()
        # The engine bounds itself too; here, so that a ceiling is looked at just before asking.
        self.room = asyncio.Semaphore(section.requests_in_flight * max(1, len(section.endpoints)))
        self.before = Usage()
        self.paid = Usage()

    @property
    def spent(self) -> Usage:
        return self.before + self.paid


class Spending:
    """What the asking of this process has cost, and whether more may be spent."""

    def __init__(self, config: Config, before: Mapping[Pool, Usage] | None = None) -> None:
        """`before`: what the run's answers cost before, by pool; only a ceiling asks for it."""
        self._config = config
        before = before or {}
        self._engines: dict[Pool, _Account] = {"llm": _Account(config.llm)}
        if config.judge:
            self._engines["judge"] = _Account(config.judge)
        for pool, usage in before.items():
            self._engine(pool).before += usage
        self._unclaimed: defaultdict[Task, Usage] = defaultdict(Usage)
        self._closed: str | None = None

    @property
    def closed(self) -> str | None:
        """The sentence that says why nothing more is asked; None while there is money."""
        if self._closed is None:
            spent = {pool: account.spent for pool, account in self._engines.items()}
            self._closed = ceiling_reached(self._config, spent)
        return self._closed

    @property
    def paid(self) -> Mapping[Pool, Usage]:
        """What this process has paid, by pool; a judge that is the explainer pays with it."""
        return {pool: account.paid for pool, account in self._engines.items()}

    def close(self, reason: str) -> None:
        """Ask nothing more: the ceiling was reached elsewhere. What is in flight is answered."""
        self._closed = reason

    def claim(self, task: Task) -> Usage:
        """What this attempt at the task paid for; asking again gives nothing."""
        return self._unclaimed.pop(task, Usage())

    def room(self, task: Task) -> asyncio.Semaphore:
        """Hold it while asking: as many requests as the task's engine works on at once."""
        return self._engine(step_named(task.step).pool).room

    def refusal(self) -> Answer | None:
        """What a question gets once the ceiling is reached; None while there is money.

        Raises OverBudget, unless the config wants a finished table.
        """
        if self.closed is None:
            return None
        if self._config.budget.when_reached == "stop":
            raise OverBudget(self.closed)
        return Answer("", "over_budget")

    async def ask(self, llm: LLMClient, task: Task, request: Request) -> tuple[Answer, Usage]:
        """The answer, and what it cost.

        Raises what the LLM raises; the engine's seconds are billed to the task all the same.
        """
        account = self._engine(step_named(task.step).pool)
        shares: list[float] = []
        try:
            with account.clock.working(shares.append):
                answer = await llm.ask(request)
        finally:
            self._pay(account, task, Usage(engine_seconds=sum(shares)))
        if answer.finish_reason not in ("stop", "length"):
            return answer, Usage()
        tokens = Usage(
            1, answer.num_prompt_tokens, answer.num_cached_tokens, answer.num_generated_tokens
        )
        self._pay(account, task, tokens)
        return answer, tokens + Usage(engine_seconds=sum(shares))

    def _engine(self, pool: Pool) -> _Account:
        """The engine that answers a pool: the explainer's where no judge is named."""
        return self._engines.get(pool, self._engines["llm"])

    def _pay(self, account: _Account, task: Task, usage: Usage) -> None:
        account.paid += usage
        self._unclaimed[task] += usage
