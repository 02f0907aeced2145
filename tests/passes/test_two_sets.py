"""A two-set trial: four questions in both orders, or four likelihoods, and what they come to."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.passes.two_sets import judge_two_sets
from ray_autointerp.prompts.judgement import SetJudgement
from ray_autointerp.prompts.message import Message

LEANING = 0.7
"""Log-odds by which the judge likes whatever comes first."""


def ask(description: str, first: Any, second: Any) -> tuple[Message, ...]:
    return (Message("user", "|".join([description, *first, *second])),)


def write(description: str | None) -> tuple[Message, ...]:
    return (Message("user", f"write {description}"),)


JUDGEMENT = SetJudgement(ask, write, " ".join)


class WorkerContext:
    """A context whose judge likes the set that holds the description's last word."""

    def __init__(self, failing: str | None = None, judged_by: str = "choice") -> None:
        self.llm = self
        self.run = SimpleNamespace(
            config=SimpleNamespace(score=SimpleNamespace(judged_by=judged_by))
        )
        self._failing = failing
        self.asked: list[str] = []

    async def ask(self, request: Request) -> Answer:
        if request.answer is not None:
            return self._likelihood(request)
        description, first, second = request.messages[0].content.split("|")
        self.asked.append(request.messages[0].content)
        if description == self._failing:
            return Answer("?", "stop")
        word = description.split()[-1]
        odds = LEANING + 3.0 * ((word in first) - (word in second))
        return Answer("A" if odds > 0 else "B", "stop", choice_logprobs={"A": odds, "B": 0.0})

    def _likelihood(self, request: Request) -> Answer:
        """A word that the description has is likelier; others, by their length."""
        description, set_ = request.messages[0].content, str(request.answer)
        self.asked.append(f"{description}|{set_}")
        if description == f"write {self._failing}":
            return Answer("too long", "error")
        words = set_.split()
        return Answer(
            "", "stop", answer_logprobs=[-len(w) + 3.0 * (w in description.split()) for w in words]
        )


def judged(context: Any, stranger: str = "about seas") -> Any:
    return asyncio.run(
        judge_two_sets(context, JUDGEMENT, "about owls", stranger, ["owls hoot"], ["a tax"])
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
        judge_two_sets(
            WorkerContext(),  # type: ignore[arg-type]
            JUDGEMENT,
            "about seas",
            "about hoot",
            ["owls hoot"],
            ["a tax"],
        )
    )
    assert worse["win"] == 0.0 and worse["right"] == 0.5


@pytest.mark.parametrize("failing", ["about owls", "about seas"])
def test_an_answer_without_logprobs_is_the_trials_status(failing: str) -> None:
    row = judged(WorkerContext(failing))
    assert row["status"] == "unreadable" and "win" not in row
    assert len(row["answers"]) == 4


def test_by_likelihood_each_set_follows_each_description_and_what_it_is_by_itself_cancels() -> None:
    context = WorkerContext(judged_by="likelihood")
    row = judged(context)
    sets = ("owls hoot", "a tax")
    texts = ("about owls", "about seas")
    assert context.asked == [f"write {text}|{shown}" for text in texts for shown in sets]
    assert row["log_odds"] == pytest.approx(3 - 8 + 4)
    assert row["log_odds_stranger"] == pytest.approx(-8 + 4)
    assert row["status"] == "ok" and row["win"] == 1.0, "though the other set is likelier"
    assert not row["answers"]
    assert judged(WorkerContext(judged_by="likelihood"), "about owls too")["win"] == 0.5


@pytest.mark.parametrize("failing", ["about owls", "about seas"])
def test_a_likelihood_that_cannot_be_had_is_the_trials_status(failing: str) -> None:
    row = judged(WorkerContext(failing, "likelihood"))
    assert row["status"] == "failed" and "win" not in row
