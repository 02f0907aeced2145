"""A two-set trial: four questions in both orders, and what their answers come to."""

import asyncio
from typing import Any

import pytest

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.passes.two_sets import judge_two_sets
from ray_autointerp.prompts.message import Message

LEANING = 0.7
"""Log-odds by which the judge likes whatever comes first."""


def ask(description: str, first: Any, second: Any) -> tuple[Message, ...]:
    return (Message("user", "|".join([description, *first, *second])),)


class WorkerContext:
    """A context whose judge likes the set that holds the description's last word."""

    def __init__(self, failing: str | None = None) -> None:
        self.llm = self
        self._failing = failing
        self.asked: list[str] = []

    async def ask(self, request: Request) -> Answer:
        description, first, second = request.messages[0].content.split("|")
        self.asked.append(request.messages[0].content)
        if description == self._failing:
            return Answer("?", "stop")
        word = description.split()[-1]
        odds = LEANING + 3.0 * ((word in first) - (word in second))
        return Answer("A" if odds > 0 else "B", "stop", choice_logprobs={"A": odds, "B": 0.0})


def judged(context: Any, stranger: str = "about seas") -> Any:
    return asyncio.run(
        judge_two_sets(context, ask, "about owls", stranger, ["owls hoot"], ["a tax"])
    )


def test_both_descriptions_are_asked_in_both_orders_and_the_lean_cancels() -> None:
    context = WorkerContext()
    row = judged(context)
    orders = ("owls hoot|a tax", "a tax|owls hoot")
    texts = ("about owls", "about seas")
    assert context.asked == [f"{text}|{sets}" for sets in orders for text in texts]
    assert row["log_odds"] == pytest.approx(3.0) and row["log_odds_stranger"] == 0.0
    assert row["status"] == "ok" and row["win"] == row["right"] == 1.0
    assert row["answers"] == ["A", "B", "A", "A"], "own first and second, the stranger's the same"
    assert row["word_overlap_win"] == 1.0


def test_a_strangers_better_description_wins_the_trial() -> None:
    row = judged(WorkerContext(), stranger="about hoot")
    assert row["win"] == row["word_overlap_win"] == 0.5
    worse = asyncio.run(
        judge_two_sets(WorkerContext(), ask, "about seas", "about hoot", ["owls hoot"], ["a tax"])  # type: ignore[arg-type]
    )
    assert worse["win"] == 0.0 and worse["right"] == 0.5


@pytest.mark.parametrize("failing", ["about owls", "about seas"])
def test_an_answer_without_logprobs_is_the_trials_status(failing: str) -> None:
    row = judged(WorkerContext(failing))
    assert row["status"] == "unreadable" and "win" not in row
    assert len(row["answers"]) == 4
