"""Two-set trials: two descriptions of two sets put to the judge, and what they say of a description
(methods 16).

By choice the judge names a set, asked in both orders. By likelihood the log-odds are how much
likelier one set is than the other after the description; what makes a set likely by itself is the
same under both descriptions, and decides no win.
"""

import asyncio
from collections.abc import Sequence
from statistics import fmean

from ray_autointerp.llm.client import Answer
from ray_autointerp.methods.output_score import (
    ChoiceLogprobs,
    TwoSetTrial,
    output_score,
    two_set_log_odds,
)
from ray_autointerp.methods.word_overlap import word_overlap_log_odds
from ray_autointerp.passes.ask import ask_loglikelihood, ask_to_choose, failures, loglikelihood
from ray_autointerp.prompts.judge import TWO_SET_CHOICES
from ray_autointerp.prompts.judgement import SetJudgement
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


async def judge_two_sets(
    context: WorkerContext,
    judgement: SetJudgement,
    description: str,
    stranger: str,
    own: Sequence[str],
    other: Sequence[str],
) -> Row:
    """What a trial's row says of the answers: status, log-odds, win, right, answers.

    `own` is the target's set, `description` its own, `stranger` the control's.
    """
    by_choice = context.run.config.score.judged_by == "choice"
    texts, sets = (description, stranger), (own, other)
    if by_choice:
        # Both descriptions of one order follow each other: their prompts begin alike.
        own_first, stranger_first, own_second, stranger_second = await asyncio.gather(
            *(
                ask_to_choose(context, judgement.ask(text, *shown), TWO_SET_CHOICES)
                for shown in (sets, sets[::-1])
                for text in texts
            )
        )
        answers = [own_first, own_second, stranger_first, stranger_second]
    else:
        written = [judgement.written(one) for one in sets]
        answers = await asyncio.gather(
            *(
                ask_loglikelihood(context, judgement.write(text), one)
                for text in texts
                for one in written
            )
        )
    row: Row = {"status": "ok", "answers": [a.text for a in answers] if by_choice else []}
    if failed := failures(answers):
        return row | {"status": failed[0]}
    log_odds = _chosen_log_odds if by_choice else _log_likelihood_ratio
    trial = TwoSetTrial(0, log_odds(*answers[:2]), log_odds(*answers[2:]))
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


def _chosen_log_odds(target_first: Answer, target_second: Answer) -> float:
    return two_set_log_odds(_two_logprobs(target_first), _two_logprobs(target_second))


def _log_likelihood_ratio(target: Answer, partner: Answer) -> float:
    return loglikelihood(target) - loglikelihood(partner)


def _two_logprobs(answer: Answer) -> ChoiceLogprobs:
    assert answer.choice_logprobs is not None
    return ChoiceLogprobs(*(answer.choice_logprobs[choice] for choice in TWO_SET_CHOICES))
