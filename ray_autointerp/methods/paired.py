"""Statistics of scores over latents, and of two sets of scores on the same latents (methods 16).

Intervals are 95 % percentile bootstraps over latents; p-values are two-sided Wilcoxon signed-rank
tests of paired differences.
"""

# N latents, F flips of their signs

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ray_autointerp.methods.intervals import Interval

_RESAMPLES = 2_000
_DRAWS_AT_ONCE = 4_000_000
"""Bootstrap indices in memory."""
_ENUMERATED = 13
"""Differences up to which the signed-rank test is exact whatever their ties."""
_DECIMALS = 6
"""To which differences are rounded, so that the last bits of float32 scores make no ranks."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """One score of the latents that have it."""

    latents_N: npt.NDArray[np.int64]
    """Unique, ascending."""
    values_N: Array

    def where(self, is_kept_N: npt.NDArray[np.bool_]) -> "Scores":
        """The scores of some of the latents."""
        return Scores(self.latents_N[is_kept_N], self.values_N[is_kept_N])

    def of(self, latents: npt.NDArray[np.int64]) -> "Scores":
        """The scores of those of these latents that have one."""
        return self.where(np.isin(self.latents_N, latents))


@dataclass(frozen=True)
class Mean:
    """A mean over latents; null without any, and its interval with fewer than two."""

    num_latents: int
    mean: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Difference:
    """What one score has more than another on the latents that have both."""

    mean: Mean
    wins: int
    ties: int
    losses: int
    p: float | None
    """Of no difference; null without latents."""


def mean_of(values_N: Array, seed: int) -> Mean:
    """The mean and its bootstrap interval."""
    if not len(values_N):
        return Mean(0, None, None)
    interval = None
    if len(values_N) > 1:
        made = stats.bootstrap(
            (values_N,),
            np.mean,
            n_resamples=_RESAMPLES,
            batch=max(1, _DRAWS_AT_ONCE // len(values_N)),
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        interval = Interval(float(made.low), float(made.high))
    return Mean(len(values_N), float(values_N.mean()), interval)


def shared(one: Scores, other: Scores) -> tuple[Array, Array]:
    """Both scores of the latents that have both, in the order of latents."""
    _, in_one, in_other = np.intersect1d(
        one.latents_N, other.latents_N, assume_unique=True, return_indices=True
    )
    return one.values_N[in_one], other.values_N[in_other]


def difference(pairs: Sequence[tuple[Array, Array]], seed: int) -> Difference:
    """One less the other, over all pairs of arrays as `shared` gives them (one an SAE)."""
    differences_N = np.concatenate([np.zeros(0), *(one - other for one, other in pairs)])
    rounded_N = np.round(differences_N, _DECIMALS)
    wins, ties, losses = (int((np.sign(rounded_N) == sign).sum()) for sign in (1, 0, -1))
    p = _signed_rank_p(rounded_N[rounded_N != 0]) if len(rounded_N) else None
    return Difference(mean_of(differences_N, seed), wins, ties, losses, p)


def rank_correlation(one_N: Array, other_N: Array) -> float | None:
    """Spearman's; null for fewer than three latents, or where one score is the same for all."""
    if len(one_N) < 3 or np.ptp(one_N) == 0 or np.ptp(other_N) == 0:
        return None
    return float(stats.spearmanr(one_N, other_N).statistic)


def _signed_rank_p(differences_N: Array) -> float:
    """Of differences that are not 0. Few are enumerated: scipy takes a second over ties."""
    if len(differences_N) > _ENUMERATED:
        return float(stats.wilcoxon(differences_N).pvalue)
    ranks_N = stats.rankdata(np.abs(differences_N))
    flips = np.arange(2 ** len(ranks_N))
    is_up_FN = flips[:, None] >> np.arange(len(ranks_N)) & 1
    from_middle_F = np.abs(is_up_FN @ ranks_N - ranks_N.sum() / 2)
    seen = abs(ranks_N[differences_N > 0].sum() - ranks_N.sum() / 2)
    return float(np.mean(from_middle_F >= seen))
