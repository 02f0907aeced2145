"""Two-set trials: two descriptions of two sets put to the judge in both orders, and what they say
of a description (methods 16).
"""

import asyncio
from collections.abc import Callable, Sequence
from statistics import fmean

from ray_autointerp.llm.client import Answer
from ray_autointerp.methods.output_score import (
    ChoiceLogprobs,
    TwoSetTrial,
    output_score,
    two_set_log_odds,
)
from ray_autointerp.methods.word_overlap import word_overlap_log_odds
from ray_autointerp.passes.ask import ask_to_choose, choice_status
from ray_autointerp.prompts.judge import TWO_SET_CHOICES
from ray_autointerp.prompts.message import Message
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

Ask = Callable[[str, Sequence[str], Sequence[str]], tuple[Message, ...]]
"""A description and two sets to the question which of them it fits."""


async def judge_two_sets(
    context: WorkerContext,
    ask: Ask,
    description: str,
    stranger: str,
    own: Sequence[str],
    other: Sequence[str],
) -> Row:
    """What a trial's row says of the answers: status, log-odds, win, right, answers.

    `own` is the target's set, `description` its own, `stranger` the control's.
    """
    # Both descriptions of one order follow each other: their prompts begin alike.
    asked = [
        ask(text, *sets)
        for sets in ((own, other), (other, own))
        for text in (description, stranger)
    ]
    own_first, stranger_first, own_second, stranger_second = await asyncio.gather(
        *(ask_to_choose(context, messages, TWO_SET_CHOICES) for messages in asked)
    )
    answers = [own_first, own_second, stranger_first, stranger_second]
    row: Row = {"status": "ok", "answers": [answer.text for answer in answers]}
    failed = [status for answer in answers if (status := choice_status(answer)) != "ok"]
    if failed:
        return row | {"status": failed[0]}
    trial = TwoSetTrial(
        0, _log_odds(own_first, own_second), _log_odds(stranger_first, stranger_second)
    )
    counted = TwoSetTrial(
        0,
        word_overlap_log_odds(description, own, other),
        word_overlap_log_odds(stranger, own, other),
    )
    return row | {
        "log_odds": trial.log_odds,
        "log_odds_stranger": trial.log_odds_stranger,
        "win": trial.win,
        "right": trial.right,
        "word_overlap_win": counted.win,
    }


def win_rate_columns(trials: Sequence[Row], cluster: str) -> Row:
    """What a score's row says of its `ok` trials; those alike in column `cluster` share texts."""
    score = output_score(
        [TwoSetTrial(t[cluster], t["log_odds"], t["log_odds_stranger"]) for t in trials]
    )
    interval = score.win_interval
    return {
        "win_rate": score.win_rate,
        "win_rate_low": interval.low if interval else None,
        "win_rate_high": interval.high if interval else None,
        "mean_lift": score.mean_lift,
        "word_overlap_win_rate": fmean(t["word_overlap_win"] for t in trials) if trials else None,
    }


def choosing_halves(trials: Sequence[Row]) -> list[float | None]:
    """Win rates of two halves of the choosing trials that are `ok`, None of one without any."""
    wins = [t["win"] for t in trials if t["choosing"] and t["status"] == "ok"]
    return [fmean(half) if half else None for half in (wins[::2], wins[1::2])]


def _log_odds(target_first: Answer, target_second: Answer) -> float:
    return two_set_log_odds(_two_logprobs(target_first), _two_logprobs(target_second))


def _two_logprobs(answer: Answer) -> ChoiceLogprobs:
    assert answer.choice_logprobs is not None
    return ChoiceLogprobs(*(answer.choice_logprobs[choice] for choice in TWO_SET_CHOICES))
