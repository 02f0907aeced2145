"""Seconds of an engine are shared out without a rest; a spending that is closed asks nothing."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.errors import EngineDied, OverBudget
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.prompts.message import Message
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.spending import EngineClock, Spending

EXPLAIN = Task("explain", "sae", "max_act", 0, 1)
JUDGE = Task("output_score", "sae", "max_act", 0, 1)
QUESTION = Request((Message("user", "why"),), max_tokens=5)
SCRIPTED = {"backend": "scripted", "script": "a:b"}


def config(**sections: object) -> Config:
    raw = {
        "run": {"name": "r"},
        "subject": {"model": "m"},
        "sae": [{"id": "sae", "path": "s"}],
        "corpus": {"path": "c"},
        "llm": SCRIPTED,
    }
    return parse_config(raw | sections, Path("config.toml"))


class Told:
    """Ten tokens each; dies if it is told to."""

    def __init__(self, *, dies: bool = False) -> None:
        self._dies = dies
        self.num_asked = 0

    async def start(self) -> None:
        pass

    async def ask(self, request: Request) -> Answer:
        self.num_asked += 1
        if self._dies:
            raise EngineDied("it died")
        return Answer("so", "stop", None, 7, 3, 2)

    async def close(self) -> None:
        pass


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=12))
def test_shares_of_all_requests_are_the_seconds_in_which_any_was_there(
    spans: list[tuple[int, int]],
) -> None:
    """Requests that come and go at whole seconds: (begin, length)."""
    time = 0.0
    clock = EngineClock(lambda: time)
    shares = [0.0] * len(spans)
    present: dict[int, contextlib.ExitStack] = {}
    busy = [
        sum(begin <= second < begin + length for begin, length in spans) for second in range(71)
    ]
    for second in range(72):
        time = float(second)
        for number, (begin, length) in enumerate(spans):
            if second == begin + length:
                present.pop(number).close()
            if second == begin:
                present[number] = contextlib.ExitStack()

                def note(share: float, number: int = number) -> None:
                    shares[number] = share

                present[number].enter_context(clock.working(note))
    assert sum(shares) == pytest.approx(sum(count > 0 for count in busy))
    for number, (begin, length) in enumerate(spans):
        fair = sum(1 / busy[second] for second in range(begin, begin + length))
        assert shares[number] == pytest.approx(fair)


def test_failed_request_is_billed_its_seconds_and_no_tokens() -> None:
    spending = Spending(config())
    with pytest.raises(EngineDied):
        asyncio.run(spending.ask(Told(dies=True), EXPLAIN, QUESTION))
    usage = spending.claim(EXPLAIN)
    assert usage.num_requests == usage.num_tokens == 0
    assert usage.engine_seconds > 0


def test_each_task_claims_its_own() -> None:
    spending, llm = Spending(config()), Told()

    async def work() -> None:
        for task in (EXPLAIN, JUDGE, JUDGE):
            await spending.ask(llm, task, QUESTION)

    asyncio.run(work())
    assert spending.claim(EXPLAIN).num_tokens == 10
    assert spending.claim(JUDGE).num_requests == 2


def test_money_is_counted_at_the_price_of_whoever_was_asked() -> None:
    """The judge is the dear one: a cent per token."""
    dear = SCRIPTED | {"price": {"prompt": 10_000.0, "generated": 10_000.0}}
    both = config(judge=dear, budget={"max_cost": 0.25})
    spending, llm = Spending(both), Told()

    async def ask(task: Task) -> None:
        await spending.ask(llm, task, QUESTION)

    for _ in range(100):
        asyncio.run(ask(EXPLAIN))
    assert spending.refusal() is None
    for _ in range(3):
        assert spending.closed is None
        asyncio.run(ask(JUDGE))
    with pytest.raises(OverBudget, match=r"max_cost = 0.25 is reached: 0.3 spent"):
        spending.refusal()


def test_one_model_for_both_has_one_account() -> None:
    tight = config(budget={"max_tokens": 20})
    spending = Spending(tight, {"llm": Usage(1, 10), "judge": Usage(1, 9)})
    assert spending.room(EXPLAIN) is spending.room(JUDGE)
    assert spending.closed is None
    asyncio.run(spending.ask(Told(), EXPLAIN, QUESTION))
    assert spending.closed is not None


def test_purse_that_was_closed_from_outside_says_so() -> None:
    spending = Spending(config())
    spending.close("The ceiling is reached.")
    with pytest.raises(OverBudget, match="The ceiling is reached"):
        spending.refusal()
