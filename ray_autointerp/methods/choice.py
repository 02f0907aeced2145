"""Which description becomes a latent's label: the one that does best in choosing trials.

Choosing trials share nothing with those whose scores are published, so the winner's published
score is not inflated by having been chosen. Each description has two half scores, of disjoint
trials. A latent with few trials is chosen for by noise; so what sets a description apart from its
method and its latent is shrunk by its reliability, measured between the halves (split-half
correlation, Spearman-Brown). A method's lead over the reference, the keywords, counts as far as its
95 % interval (of all methods together, by Bonferroni) lies above zero. Of a method without such a
lead, a description takes the reference's place only where its own lead is larger than the standard
error that is left in it. With useless trials the reference wins everywhere, with perfect ones each
latent's best description.
"""

# L latents, M methods; two halves H

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

_UNSURE = 0.025
"""Chance that any of several useless methods has a sure lead: shared evenly among them."""
_ROUNDS = 100
"""Of alternating means; two or three suffice unless most cells are empty."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimates:
    """What each description is expected to score."""

    expected_LM: Array
    """On the scale of the scores; NaN where a description has no trials."""
    reliability: float
    """From 0 (what is particular to a description is noise) to 1."""
    needed_M: Array
    """By method, the lead over the reference that its description needs: the standard error of the
    difference of two descriptions of a latent, or 0 of a method that is surely better."""


@dataclass(frozen=True)
class Choice:
    """The winner among one latent's descriptions. Indices are those of the methods."""

    winner: int
    runner_up: int | None
    margin: float | None
    """Expected score of the winner less that of the runner-up; below zero where the keywords win
    because the other's lead is not sure."""


def pooled(scores: Sequence[Array]) -> Array:
    """The mean [H, L, M] of several scores [H, L, M], NaN where all are.

    All are first set to one mean, so that a description gains nothing from lacking trials in which
    most do badly.
    """
    found = [one_HLM for one_HLM in scores if not np.isnan(one_HLM).all()]
    if not found:
        return np.full_like(scores[0], np.nan)
    means = [np.nanmean(one_HLM) for one_HLM in found]
    level = np.mean(means)
    levelled = np.stack([one - mean + level for one, mean in zip(found, means, strict=True)])
    with np.errstate(invalid="ignore"):
        mean_HLM: Array = np.nansum(levelled, 0) / (~np.isnan(levelled)).sum(0)
    return mean_HLM


def estimates(halves_HLM: Array, reference: int) -> Estimates:
    """Expected scores of every description of an SAE from its choosing trials.

    `halves_HLM` are mean scores of each half of the trials, NaN where there are none. The model is
    score = latent + method + rest; the rest is shrunk, and so is what a method has more than the
    `reference` method.
    """
    is_known_LM = ~np.isnan(halves_HLM).all(0)
    scores_LM = np.full(is_known_LM.shape, np.nan)
    scores_LM[is_known_LM] = np.nanmean(halves_HLM[:, is_known_LM], 0)
    latent_L1, method_M = _effects(scores_LM)
    fitted_LM = latent_L1 + method_M
    credited_M = _credited(method_M, scores_LM, reference)
    has_both_LM = ~np.isnan(halves_HLM).any(0)
    one_N, other_N = (
        _rest(half_LM)[has_both_LM] for half_LM in np.where(has_both_LM, halves_HLM, np.nan)
    )
    num_latents, num_methods = (np.any(has_both_LM, axis).sum() for axis in (1, 0))
    num_free = int(len(one_N) - num_latents - num_methods + 1)
    reliability = _reliability(one_N, other_N, num_free)
    rest_LM = scores_LM - fitted_LM
    # Of what is particular to each of the two, a share of its true variance is not known.
    variance = reliability * np.nansum(rest_LM**2) / max(num_free, 1)
    lead_error = np.sqrt(2 * variance * (1 - reliability))
    needed_M = np.where(credited_M > credited_M[reference], 0.0, lead_error)
    return Estimates(latent_L1 + credited_M + reliability * rest_LM, reliability, needed_M)


def choose(
    expected_M: Sequence[float],
    candidates: Sequence[int],
    first: int | None,
    needed_M: Sequence[float],
) -> Choice:
    """The winner among the candidates, which come in order of preference.

    One without trials loses to one with; among those the order decides. `first` wins unless
    another leads by more than it needs: an LLM's description must beat the keywords.
    """
    assert candidates, "nothing to choose from"

    def rank(method: int) -> tuple[float, bool, int]:
        expected = expected_M[method]
        if np.isnan(expected):
            return np.inf, True, candidates.index(method)
        return -expected, method != first, candidates.index(method)

    in_order = sorted(candidates, key=rank)
    if first is not None and first in candidates and not np.isnan(expected_M[first]):
        sure = (one for one in in_order if expected_M[one] - expected_M[first] > needed_M[one])
        best = next(sure, first)
        in_order = [best, *(one for one in in_order if one != best)]
    winner, *others = in_order
    if not others:
        return Choice(winner, None, None)
    margin = float(expected_M[winner] - expected_M[others[0]])
    return Choice(winner, others[0], None if np.isnan(margin) else margin)


def _credited(method_M: Array, scores_LM: Array, reference: int) -> Array:
    """Method effects, with as much above the reference's as trials of the same latents show."""
    credited_M: Array = np.minimum(method_M, method_M[reference])
    quantile = 1 - _UNSURE / max(len(method_M) - 1, 1)
    for method, leads_L in enumerate((scores_LM - scores_LM[:, [reference]]).T):
        leads_N = leads_L[~np.isnan(leads_L)]
        if len(leads_N) > 1 and method != reference:
            error = np.std(leads_N, ddof=1) / np.sqrt(len(leads_N))
            sure = np.mean(leads_N) - stats.t.ppf(quantile, len(leads_N) - 1) * error
            credited_M[method] += max(sure, 0.0)
    return credited_M


def _effects(scores_LM: Array) -> tuple[Array, Array]:
    """Least squares of latent + method on the cells that are there, by alternating means."""
    latent_L1, method_M = np.zeros((len(scores_LM), 1)), np.zeros(scores_LM.shape[1])
    for _ in range(_ROUNDS):
        before_M = method_M
        latent_L1 = _means(scores_LM - method_M, 1)[:, None]
        method_M = _means(scores_LM - latent_L1, 0)
        if np.allclose(before_M, method_M, rtol=0, atol=1e-12):
            break
    return latent_L1, method_M


def _rest(scores_LM: Array) -> Array:
    latent_L1, method_M = _effects(scores_LM)
    rest_LM: Array = scores_LM - (latent_L1 + method_M)
    return rest_LM


def _means(scores_LM: Array, axis: int) -> Array:
    """Means over what is there; 0 where nothing is."""
    count = (~np.isnan(scores_LM)).sum(axis)
    means: Array = np.nansum(scores_LM, axis) / np.maximum(count, 1)
    return means


def _reliability(one_N: Array, other_N: Array, num_free: int) -> float:
    """Of the mean of two halves, whose rests are given: two standard errors below its estimate, so
    that chance agreement of useless trials does not choose; 0 where it cannot be measured.
    """
    spread = np.sqrt((one_N @ one_N) * (other_N @ other_N))
    # Rounding alone leaves about 1e-16 a cell.
    if spread < 1e-12 or num_free < 1:
        return 0.0
    correlation = one_N @ other_N / spread
    correlation -= 2 * (1 - correlation**2) / np.sqrt(num_free)
    return float(2 * correlation / (1 + correlation)) if correlation > 0 else 0.0
