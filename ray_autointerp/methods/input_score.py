"""The input-based score: does a latent fire on sentences written from its description?

Graded (methods 2, 5.1, 16): sum(activating - neutral) / n, as it is and over the latent's
maximum; AUROC and AUPRC; the hit rate (generation score); and the paper's binary. The input is one
number per sentence, the latent's maximum over positions without BOS, pads, specials and sinks.
"""

# A activating, N neutral sentences

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from ray_autointerp.methods.intervals import Interval, t_interval


@dataclass(frozen=True)
class SentenceActivation:
    """One written sentence: which answer it came from, its side, the latent's maximum on it."""

    draw: int
    is_activating: bool
    activation: float


@dataclass(frozen=True)
class InputScore:
    """Scores of one description; null where a side has no sentences (counts say which).

    `difference_over_max` is null too when the latent has no maximum. `paper_success` is 1, 0, or
    0.5 for equal means (the paper counts ties as failures). `hit_rate` is the share of activating
    sentences with any activation. `difference_interval` is by t over draws, because sentences of
    one LLM answer are one cluster; null with fewer than two draws that have both sides.
    """

    difference: float | None
    difference_over_max: float | None
    auroc: float | None
    average_precision: float | None
    hit_rate: float | None
    paper_success: float | None
    num_activating: int
    num_neutral: int
    difference_interval: Interval | None


def input_score(
    sentences: Sequence[SentenceActivation], max_activation: float | None
) -> InputScore:
    """Score the sentences written for one description.

    With sides of unequal size the difference is that of the means, which for equal sizes is the
    formula's sum over n.
    """
    activating = [s.activation for s in sentences if s.is_activating]
    neutral = [s.activation for s in sentences if not s.is_activating]
    if not activating or not neutral:
        nulls = (None,) * 6
        return InputScore(*nulls, len(activating), len(neutral), None)
    difference = fmean(activating) - fmean(neutral)
    return InputScore(
        difference=difference,
        difference_over_max=difference / max_activation if max_activation else None,
        auroc=auroc(activating, neutral),
        average_precision=average_precision(activating, neutral),
        hit_rate=fmean(value > 0 for value in activating),
        paper_success=float((np.sign(difference) + 1) / 2),
        num_activating=len(activating),
        num_neutral=len(neutral),
        difference_interval=t_interval(_draw_differences(sentences)),
    )


def half_aurocs(sentences: Sequence[SentenceActivation]) -> tuple[float | None, float | None]:
    """AUROC over the sentences of every other draw, and over those of the rest; null where a half
    lacks a side. Sentences of one draw are one cluster, so no draw is in both halves.
    """
    draws = sorted({s.draw for s in sentences})
    found = []
    for half in (draws[::2], draws[1::2]):
        activating = [s.activation for s in sentences if s.draw in half and s.is_activating]
        neutral = [s.activation for s in sentences if s.draw in half and not s.is_activating]
        found.append(auroc(activating, neutral) if activating and neutral else None)
    return found[0], found[1]


def auroc(activating: Sequence[float], neutral: Sequence[float]) -> float:
    """The chance that an activating sentence beats a neutral one, ties 1/2 (Mann-Whitney)."""
    activating_A1 = np.asarray(activating, np.float64)[:, None]
    neutral_N = np.asarray(neutral, np.float64)
    wins = (activating_A1 > neutral_N).sum() + 0.5 * (activating_A1 == neutral_N).sum()
    return float(wins / (len(activating) * len(neutral)))


def average_precision(activating: Sequence[float], neutral: Sequence[float]) -> float:
    """Area under the precision-recall curve (AUPRC) by steps, without interpolation: the mean over
    activating sentences of the precision at their activation. Equal activations are taken together,
    as scikit-learn does, so where all are equal it is the share of activating sentences.
    """
    activating_A, neutral_N = np.asarray(activating, np.float64), np.asarray(neutral, np.float64)
    right_A = (activating_A >= activating_A[:, None]).sum(1)
    wrong_A = (neutral_N >= activating_A[:, None]).sum(1)
    return float((right_A / (right_A + wrong_A)).mean())


def _draw_differences(sentences: Sequence[SentenceActivation]) -> list[float]:
    differences = []
    for draw in sorted({s.draw for s in sentences}):
        activating = [s.activation for s in sentences if s.draw == draw and s.is_activating]
        neutral = [s.activation for s in sentences if s.draw == draw and not s.is_activating]
        if activating and neutral:
            differences.append(fmean(activating) - fmean(neutral))
    return differences
