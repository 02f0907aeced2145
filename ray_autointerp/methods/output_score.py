"""The output-based score: can a judge recognise a latent's steered text by its description?

Two sets, with a stranger's description as control (methods 16): in each unit the judge sees the
texts of the target i and of a partner j under i's description and under that of a stranger k,
in both orders. The score is the win rate, the share of units with L(d_i) > L(d_k), which is 1/2
in expectation when the two descriptions are exchangeable, whatever the judge likes in a text.
The paper's three-set choice is kept for parity. The inputs are log-probabilities.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ray_autointerp.methods.intervals import Interval, wilson_interval
from ray_autointerp.methods.steering import SearchRule

MAX_LOG_ODDS = 50.0


@dataclass(frozen=True)
class ChoiceLogprobs:
    """The judge's log-probabilities of answering with the first and with the second set."""

    first: float
    second: float

    @property
    def log_odds(self) -> float:
        """Log-odds for the first set, in nats, cut at 50 so that a sure judge stays finite."""
        if self.first == self.second:
            return 0.0
        return min(max(self.first - self.second, -MAX_LOG_ODDS), MAX_LOG_ODDS)


@dataclass(frozen=True)
class TwoSetTrial:
    """One unit: the judge's log-odds for the target's set under d_i and under d_k."""

    text_set: int
    log_odds: float
    log_odds_stranger: float

    @property
    def win(self) -> float:
        """1 if the target's own description speaks more for its set, 1/2 for a tie, else 0."""
        return _half_step(self.log_odds - self.log_odds_stranger)

    @property
    def right(self) -> float:
        """1 if the judge names the target's set under its own description, 1/2 if undecided.

        A population figure only: for one latent it has no chance level.
        """
        return _half_step(self.log_odds)

    @property
    def lift(self) -> float:
        """L(d_i) - L(d_k), in nats."""
        return self.log_odds - self.log_odds_stranger


@dataclass(frozen=True)
class OutputScore:
    """One latent's output score; null without units.

    `win_interval` is Wilson's with the number of text sets for its trials, since units that share
    texts are one cluster: as wide as if they all fell together.
    """

    win_rate: float | None
    win_interval: Interval | None
    mean_lift: float | None
    share_right: float | None
    num_units: int


def two_set_log_odds(target_first: ChoiceLogprobs, target_second: ChoiceLogprobs) -> float:
    """L(d): log-odds for the target's set, mean of both orders; a constant order bias cancels."""
    return (target_first.log_odds - target_second.log_odds) / 2


def output_score(trials: Sequence[TwoSetTrial]) -> OutputScore:
    """Win rate, lift and share right over the units that were judged."""
    if not trials:
        return OutputScore(None, None, None, None, 0)
    win_rate = fmean(trial.win for trial in trials)
    return OutputScore(
        win_rate=win_rate,
        win_interval=wilson_interval(win_rate, len({trial.text_set for trial in trials})),
        mean_lift=fmean(trial.lift for trial in trials),
        share_right=fmean(trial.right for trial in trials),
        num_units=len(trials),
    )


def pooled_win_rate(scores: Iterable[tuple[float, int]]) -> tuple[float, Interval] | None:
    """The share of wins in several scores' trials together, and Wilson's interval of it; None
    without trials. A score is its win rate and its number of trials, each on texts of its own.
    """
    found = list(scores)
    num_trials = sum(number for _, number in found)
    if not num_trials:
        return None
    win_rate = sum(rate * number for rate, number in found) / num_trials
    return win_rate, wilson_interval(win_rate, num_trials)


def three_set_success(logprobs: Sequence[float], target: int) -> float:
    """The paper's choice among three sets: 1 if the target's is likeliest, 0 if another is.

    A tie for the first place shares it: 1/2 or 1/3. Chance is 1/3.
    """
    best = max(logprobs)
    if math.isnan(best) or logprobs[target] != best:
        return 0.0
    return 1 / sum(logprob == best for logprob in logprobs)


def is_unequal_treatment(
    kl_target: float, kls_reached: Iterable[float], tolerance: float = SearchRule.tolerance
) -> bool:
    """Whether a text of a trial was made at a KL that misses the common target.

    A leak: texts steered unequally far can be distinguished without reading the description. The
    tolerance is the calibration's; a hair more is allowed for float32 storage.
    """
    band = tolerance * kl_target * (1 + 1e-5)
    return not all(abs(kl - kl_target) <= band for kl in kls_reached)


def _half_step(x: float) -> float:
    return 0.5 if x == 0 else float(x > 0)
