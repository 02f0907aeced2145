"""Confidence intervals of rates and of means (methods 16)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

from scipy import optimize, stats

_HAIR = 1e-9


@dataclass(frozen=True)
class Interval:
    """A two-sided interval, ends included."""

    low: float
    high: float


def wilson_interval(rate: float, num_trials: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a rate over independent trials; [0, 1] without trials.

    Written out because `scipy.stats.binomtest` takes whole numbers of successes only, while a
    rate may hold half successes (ties) or be a mean over clusters. Unlike the normal interval it
    keeps a width at 0 and 1.
    """
    if num_trials == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    shrink = 1 + z * z / num_trials
    centre = (rate + z * z / (2 * num_trials)) / shrink
    spread = rate * (1 - rate) / num_trials + z * z / (4 * num_trials**2)
    half = z * math.sqrt(spread) / shrink
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def mann_whitney_interval(
    auroc: float, num_first: int, num_second: int, level: float = 0.95
) -> Interval:
    """Newcombe's interval of an AUROC (2006, Statistics in Medicine 25:559-573, method 5).

    Like Wilson's it takes the variance at the interval's own ends, so that it keeps a width at 0
    and 1, where DeLong's and a bootstrap have none. The variance is Hanley and McNeil's with both
    sizes moved to their mean.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    others = (num_first + num_second) / 2 - 1

    def beyond(area: float) -> float:
        pairs = 1 + others * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * pairs / (num_first * num_second)
        return (area - auroc) ** 2 - z * z * variance

    # At 0 and 1 the variance is 0 too: the end that is sought lies on the other side of a hair.
    inside = min(max(auroc, _HAIR), 1 - _HAIR)
    low = 0.0 if auroc <= 0 else float(optimize.brentq(beyond, 0.0, inside))
    high = 1.0 if auroc >= 1 else float(optimize.brentq(beyond, inside, 1.0))
    return Interval(low, high)


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return Interval(fmean(values) - half, fmean(values) + half)
