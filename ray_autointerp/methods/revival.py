"""Texts that may fire a latent which never fired on the corpus, made of a list of its tokens.

Each token alone, ordered pairs of the first ones, and runs of the first k: the lengths of the
paper's (Gur-Arieh et al., 2025, on dead features), which draws its pairs and runs at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

Kind = Literal["token", "pair", "run", "sentence"]

NUM_PAIRED = 10
"""Tokens of which every ordered pair is tried."""
RUN_LENGTHS = (3, 5, 12, 25, 32)


@dataclass(frozen=True)
class Attempt:
    """A text to try, without BOS."""

    kind: Kind
    token_ids: tuple[int, ...]


def attempts(tokens: Sequence[int]) -> list[Attempt]:
    """The texts made of a list, best token first: shorter texts come before longer ones."""
    return [
        *(Attempt("token", (token,)) for token in tokens),
        *(Attempt("pair", pair) for pair in permutations(tokens[:NUM_PAIRED], 2)),
        *(Attempt("run", tuple(tokens[:k])) for k in RUN_LENGTHS if k <= len(tokens)),
    ]
