"""Intervention surprisal: how much likelier a description is after steered than unsteered texts.

Intervention scoring of Paulo et al. (2024, arXiv 2410.13928). In nats, summed over the tokens of
the description: it grows with their number, so it is given per token too. It has no chance level;
its floor is what another latent's description gets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import stats


@dataclass(frozen=True)
class InterventionSurprisal:
    """The score of one description."""

    difference: float
    """Nats, the mean over trials."""
    se: float | None
    """Its standard error over trials; None of fewer than two."""
    difference_per_token: float
    num_tokens: int
    """Of the description, as the judge reads it."""


def intervention_surprisal(
    steered: Sequence[float], unsteered: Sequence[float], num_tokens: int
) -> InterventionSurprisal:
    """From a description's log-probabilities after either set of texts, by trial."""
    differences = [one - other for one, other in zip(steered, unsteered, strict=True)]
    mean = fmean(differences)
    se = float(stats.sem(differences)) if len(differences) > 1 else None
    return InterventionSurprisal(mean, se, mean / num_tokens, num_tokens)
