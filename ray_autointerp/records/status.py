"""The closed list of outcomes a row can have, who sets each, and where it counts.

A missing value is null with a status beside it, never a sentinel and never a sentence.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Status = Literal[
    "ok",
    "not_selected",
    "no_evidence",
    "alive",
    "refused",
    "truncated",
    "unreadable",
    "lint",
    "kl_unreached",
    "no_partner",
    "too_few_firings",
    "unequal_treatment",
    "no_effect_in_text",
    "over_budget",
    "quarantined",
    "failed",
]

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Case:
    """One line of the case table."""

    set_by: str
    """Which kind of step sets it."""
    means: str
    """What happened, as a person would say it."""
    counts_as_failure: bool
    """Whether a report counts the row in the denominator (as a miss) or leaves it out."""


CASES: dict[Status, Case] = {
    "ok": Case("every step", "the value is there", False),
    "not_selected": Case("publish", "the run's rule did not choose this latent", False),
    "no_evidence": Case("every step", "this method has nothing to go on, or came after one", False),
    "alive": Case("revive", "it fires in the corpus, so nothing was tried to fire it", False),
    "refused": Case("llm steps", "the LLM declined to answer", True),
    "truncated": Case("llm steps", "the answer hit its token limit", True),
    "unreadable": Case("llm steps", "the answer could not be read as what was asked", True),
    "lint": Case("explain", "the answer is no description (echo, repetition, reasoning)", True),
    "kl_unreached": Case("calibrate", "no clamp up to the ceiling moved the model enough", False),
    "no_partner": Case("judge steps", "too few latents to draw a partner and stranger", False),
    "too_few_firings": Case("keyword_score", "it hardly fires in the held-out text", False),
    "unequal_treatment": Case(
        "output_score", "texts of a trial missed their KL target, so nothing was asked", False
    ),
    "no_effect_in_text": Case(
        "output_ceiling", "even its exact logit diffs cannot tell its text from another's", False
    ),
    "over_budget": Case("llm steps", "the run's ceiling was reached first", False),
    "quarantined": Case("the driver", "the latent kills its worker; it is skipped", True),
    "failed": Case("every step", "an error or a non-finite number in this row alone", True),
}
