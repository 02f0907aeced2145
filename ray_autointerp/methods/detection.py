"""Detection and fuzzing: can a judge tell by a description where a latent is active?

The judge gives log-odds for each of some texts (delphi's scorers, Paulo et al. 2024, take yes or
no). Active texts are compared with inactive ones; floor of a description that says nothing: 1/2 for
AUROC and balanced accuracy, and, with as many texts of either kind, 1/2 for average precision and
2/3 for F1 of a judge that always says yes.
"""

# A active, N inactive texts

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from ray_autointerp.methods.input_score import auroc, average_precision
from ray_autointerp.methods.intervals import mann_whitney_interval

T = TypeVar("T")

_FEWEST_RANKED = 5
"""Texts below which a rank correlation says nothing."""


@dataclass(frozen=True)
class DetectionScore:
    """One description's scores; the correlation is null where there is too little to rank."""

    auroc: float
    auroc_low: float
    auroc_high: float
    balanced_accuracy: float
    f1: float
    average_precision: float
    strength_spearman: float | None
    """Between log-odds and the latent's activation, over the active texts."""


def detection_score(
    active: Sequence[float], inactive: Sequence[float], strengths: Sequence[float]
) -> DetectionScore:
    """Scores of the judge's log-odds on at least one text of either kind.

    `strengths` are the latent's activations on the active texts. Log-odds of exactly 0 count half
    as a yes.
    """
    area = auroc(active, inactive)
    interval = mann_whitney_interval(area, len(active), len(inactive))
    hits, false_alarms = _yeses(active), _yeses(inactive)
    return DetectionScore(
        auroc=area,
        auroc_low=interval.low,
        auroc_high=interval.high,
        balanced_accuracy=(hits / len(active) + 1 - false_alarms / len(inactive)) / 2,
        f1=2 * hits / (hits + false_alarms + len(active)),
        average_precision=average_precision(active, inactive),
        strength_spearman=_spearman(active, strengths),
    )


def evenly(items: Sequence[T], num_kept: int) -> list[T]:
    """At most so many of the items, from the first to the last in even steps."""
    if num_kept >= len(items):
        return list(items)
    steps = max(1, num_kept - 1)
    return [items[place * (len(items) - 1) // steps] for place in range(num_kept)]


def _yeses(log_odds: Sequence[float]) -> float:
    return float(sum((np.sign(x) + 1) / 2 for x in log_odds))


def _spearman(log_odds: Sequence[float], strengths: Sequence[float]) -> float | None:
    if len(log_odds) < _FEWEST_RANKED or len(set(log_odds)) < 2 or len(set(strengths)) < 2:
        return None
    return float(stats.spearmanr(log_odds, strengths).statistic)
