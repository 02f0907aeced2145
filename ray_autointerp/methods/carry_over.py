"""Carry-over: whether the label of an earlier latent still holds for the latent it is matched with.

No LLM is asked. A label is kept where the decoder row, the activations and the promoted tokens are
still alike, and where the sentences that were written from it fire the new latent nearly as well as
the one that it was made for. That last check is against the first latent in a chain of carried
labels, so that small losses do not add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Check = Literal["match", "label", "score", "age", "cosine", "correlation", "overlap", "sentences"]
"""What a label did not pass: there is no earlier latent, that one has no label that was scored on
sentences, the label scored too low or is too old, or what is alike is too little."""


@dataclass(frozen=True)
class Thresholds:
    """The least that is asked for; 0 asks for nothing, and a number that is missing then passes."""

    cosine: float
    correlation: float
    overlap: float
    auroc_loss: float
    """The most that may be lost."""


@dataclass(frozen=True)
class Likeness:
    """How alike two matched latents are; None where there is nothing to tell."""

    cosine: float | None
    correlation: float | None
    overlap: float | None


def failed_likeness(found: Likeness, thresholds: Thresholds) -> Check | None:
    """The first check that two matched latents fail, before any sentence is read."""
    if _is_below(found.cosine, thresholds.cosine):
        return "cosine"
    if _is_below(found.correlation, thresholds.correlation):
        return "correlation"
    return "overlap" if _is_below(found.overlap, thresholds.overlap) else None


def is_below_a_score(label: Mapping[str, Any], least: Mapping[str, float]) -> bool:
    """Whether one of the label's scores, by column, is missing or less than is asked for."""
    return any(label[score] is None or label[score] < value for score, value in least.items())


def sentences_hold(before: float, now: float, thresholds: Thresholds) -> bool:
    """Whether the sentences' AUROC on the new latent is near enough to that on the old one."""
    return now >= before - thresholds.auroc_loss


def _is_below(value: float | None, least: float) -> bool:
    return least > 0 and (value is None or value < least)
