"""The run's ceiling over several engines: what each has paid is summed, and all stop together.

Every engine stops at the ceiling by itself too (runs/spending.py); added here is what the others
spend meanwhile. What is spent beyond it is what was in flight between two looks.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from ray_autointerp.plan.bill import ceiling_reached
from ray_autointerp.plan.step import Pool
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.answers import spent_before
from ray_autointerp.runs.run import Run

_LOOK_S = 1.0
_ANSWER_S = 2.0


class Ceiling:
    """Looks at what engines have paid, no more often than every second."""

    def __init__(self, run: Run) -> None:
        self._config = run.config
        budget = run.config.budget
        self._is_set = budget.max_tokens is not None or budget.max_cost is not None
        self._before = spent_before(run)
        self._paid: dict[Any, Mapping[Pool, Usage]] = {}
        """By engine, also of those that have died since."""
        self._looked = 0.0

    def look(self, engines: Iterable[Any]) -> None:
        """Tell all engines to ask nothing more, if together they have reached the ceiling."""
        if not self._is_set or time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        engines = list(engines)
        asked = {engine.paid.remote(): engine for engine in engines}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)
        for reference in answered:
            try:
                self._paid[asked[reference]] = ray.get(reference)
            except RayError:
                continue  # it has died; its last report stays
        if (sentence := self._reached()) is not None:
            for engine in engines:
                engine.stop_asking.remote(sentence)

    def _reached(self) -> str | None:
        by_pool: dict[Pool, Usage] = dict(self._before)
        for paid in self._paid.values():
            for pool, usage in paid.items():
                by_pool[pool] = by_pool.get(pool, Usage()) + usage
        return ceiling_reached(self._config, by_pool)
