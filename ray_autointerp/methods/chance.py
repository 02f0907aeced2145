"""Whether a forced choice is at its chance level for descriptions that say nothing (methods 16).

Trials of one latent share texts, so latents are the sample: the interval is Student's over their
win rates, but never narrower than Wilson's over as many independent trials, which keeps a width
where the latents agree by accident. A run makes many such tests: a verdict against one of them is
corrected for their number (Bonferroni), else one fair run in four would be marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from ray_autointerp.methods.intervals import Interval, t_interval, wilson_interval

Verdict = Literal["at chance", "off chance", "too few trials to tell"]

CHANCE = 0.5
MARGIN = 0.05
"""A rate shown to be this near to chance counts as chance."""


@dataclass(frozen=True)
class ChanceTest:
    """The share of wins of many latents, and what it shows."""

    num_latents: int
    num_trials: int
    rate: float | None
    """The mean over latents; null without any."""
    interval: Interval | None
    """95 %; null for fewer than two latents."""
    verdict: Verdict


def chance_test(rates: Sequence[float], num_trials: int, num_tests: int = 1) -> ChanceTest:
    """The verdict on latents' win rates over so many trials in all, one of `num_tests` tests.

    *At chance*: two one-sided tests at 5 % show the rate within MARGIN of CHANCE, even where it is
    not exactly that. *Off chance*: they do not, and the interval at 1 - 5 % / num_tests excludes
    CHANCE, so that all tests together are wrong of a fair choice in 5 % of runs.
    """
    rate = fmean(rates) if rates else None
    interval = _clustered(rates, num_trials, 0.95)
    verdict: Verdict = "too few trials to tell"
    if interval is not None:
        inner = _clustered(rates, num_trials, 0.9)
        outer = _clustered(rates, num_trials, 1 - 0.05 / num_tests)
        assert inner is not None and outer is not None
        if inner.low >= CHANCE - MARGIN and inner.high <= CHANCE + MARGIN:
            verdict = "at chance"
        elif not outer.low <= CHANCE <= outer.high:
            verdict = "off chance"
    return ChanceTest(len(rates), num_trials, rate, interval, verdict)


def _clustered(rates: Sequence[float], num_trials: int, level: float) -> Interval | None:
    between = t_interval(rates, level)
    if between is None:
        return None
    within = wilson_interval(fmean(rates), num_trials, level)
    # Student's reaches beyond what a share can be where few latents differ much.
    return Interval(
        max(0.0, min(between.low, within.low)), min(1.0, max(between.high, within.high))
    )
