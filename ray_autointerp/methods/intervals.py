"""Confidence intervals and what may be said of a chance level (methods 16).

Wilson for rates, t for means of few clusters, a bootstrap over latents with prompts crossed for
populations, and the verdict on a control. Knows no scores.
"""

# R resamples, U units

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Literal

import numpy as np

ChanceVerdict = Literal["at chance", "off chance", "too few trials to tell"]


@dataclass(frozen=True)
class Interval:
    """A two-sided interval, ends included."""

    low: float
    high: float


def wilson_interval(rate: float, num_trials: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a rate over independent trials; [0, 1] without trials.

    The rate may hold half successes (ties). It never collapses at 0 or 1 as the normal one does.
    """
    if num_trials == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    shrink = 1 + z * z / num_trials
    centre = (rate + z * z / (2 * num_trials)) / shrink
    spread = rate * (1 - rate) / num_trials + z * z / (4 * num_trials**2)
    half = z * math.sqrt(spread) / shrink
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Student's interval of the mean of independent values; null for fewer than two."""
    if len(values) < 2:
        return None
    half = t_quantile((1 + level) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half)


def t_quantile(probability: float, num_degrees: int) -> float:
    """Quantile (above the median) of Student's t with a whole number of degrees of freedom."""
    assert 0.5 <= probability < 1 and num_degrees >= 1
    low, high = 0.0, math.pi / 2
    for _ in range(200):
        angle = (low + high) / 2
        if 0.5 + _t_mass(angle, num_degrees) / 2 < probability:
            low = angle
        else:
            high = angle
    return math.sqrt(num_degrees) * math.tan((low + high) / 2)


def _t_mass(angle: float, num_degrees: int) -> float:
    """P(|t| < sqrt(n) tan(angle)): Abramowitz and Stegun 26.7.3 and 26.7.4."""
    cos2 = math.cos(angle) ** 2
    is_odd = num_degrees % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for k in range(num_degrees // 2):
        if k > 0:
            term *= cos2 * (2 * k if is_odd else 2 * k - 1) / (2 * k + 1 if is_odd else 2 * k)
        total += term
    inner = math.sin(angle) * total
    return 2 / math.pi * (angle + inner) if is_odd else inner


def crossed_bootstrap(
    values: Sequence[float],
    latents: Sequence[int],
    prompts: Sequence[int],
    seed: int,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval | None:
    """Percentile interval of a population's mean: latents and prompts resampled independently.

    Value u belongs to `latents[u]` and `prompts[u]`. With one prompt it is the plain bootstrap
    over latents. Null without values. Conservative: crossing counts unit noise more than once.
    """
    if not values:
        return None
    latent_names, latent_U = np.unique(latents, return_inverse=True)
    prompt_names, prompt_U = np.unique(prompts, return_inverse=True)
    shape = (len(latent_names), len(prompt_names))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (latent_U, prompt_U), values)
    np.add.at(counts, (latent_U, prompt_U), 1)
    draws = np.random.default_rng(seed)
    even = [np.full(size, 1 / size) for size in shape]
    latent_weights = draws.multinomial(shape[0], even[0], num_resamples)
    prompt_weights = draws.multinomial(shape[1], even[1], num_resamples)
    totals = np.einsum("rl,lp,rp->r", latent_weights, sums, prompt_weights, optimize=True)
    weights = np.einsum("rl,lp,rp->r", latent_weights, counts, prompt_weights, optimize=True)
    means = totals[weights > 0] / weights[weights > 0]
    tail = (1 - level) / 2
    return Interval(float(np.quantile(means, tail)), float(np.quantile(means, 1 - tail)))


def chance_verdict(
    interval_90: Interval, interval_95: Interval, chance: float = 0.5, margin: float = 0.05
) -> ChanceVerdict:
    """What a forced choice's shuffled control shows.

    *At chance* when the 90 % interval lies within the margin (two one-sided tests at 5 %; about
    1,080 independent trials for 90 % power), whatever else; *off chance* when the 95 % interval
    leaves chance out; else the trials are too few. Only *off chance* speaks against a scorer.
    """
    if chance - margin <= interval_90.low and interval_90.high <= chance + margin:
        return "at chance"
    if chance < interval_95.low or interval_95.high < chance:
        return "off chance"
    return "too few trials to tell"
