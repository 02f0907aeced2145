"""What the tables hold of one latent, and how much of it a prompt shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""The rows of one latent, by table."""


@dataclass(frozen=True)
class Shown:
    """The limits of a prompt, and the scale of a latent."""

    num_examples: int
    num_tokens: int
    """Of each promoted or suppressed list."""
    max_activation: float | None
    """The latent's maximum; None where it never fired."""


def token_texts(entries: Sequence[Mapping[str, Any]] | None, shown: Shown) -> tuple[str, ...]:
    """The first texts of a promoted or suppressed list, without those that do not move at all."""
    moved = (entry["text"] for entry in entries or () if entry["logit"] != 0)
    return tuple(islice(moved, shown.num_tokens))
