"""Activation correlation: whether two matched latents fire alike on the same text.

Pearson's correlation of their activations over all tokens, zeros included (Bricken et al. 2023,
"Towards Monosemanticity", who call it activation similarity). Taken from the non-zeros alone, one
piece of text at a time. Positions at which no SAE is read (BOS, attention sinks) are for the caller
to leave out.
"""

# N latents of the new SAE, M of the old one, T tokens of a piece, E non-zeros

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array

from ray_autointerp.methods.match import NONE, Latents


@dataclass(frozen=True)
class SparseActivations:
    """The non-zero activations of an SAE on a piece of text, in any order, each place once."""

    tokens_E: npt.NDArray[np.integer[Any]]
    """Places in the piece, from 0."""
    latents_E: npt.NDArray[np.integer[Any]]
    values_E: npt.NDArray[np.floating[Any]]


class ActivationCorrelation:
    """Sums over text for each new latent and the old one that it is matched with.

    Beside them memory goes by the non-zeros of one piece.
    """

    def __init__(self, olds_N: Latents, num_old: int) -> None:
        """`olds_N` is one to one, with `NONE` for a new latent without an old one."""
        (self._matched,) = np.nonzero(olds_N != NONE)
        self._news_M = np.full(num_old, NONE)
        self._news_M[olds_N[self._matched]] = self._matched
        self._num_tokens = 0
        self._new_N, self._new_squared_N = np.zeros((2, len(olds_N)))
        self._old_N, self._old_squared_N = np.zeros((2, len(olds_N)))
        self._product_N = np.zeros(len(olds_N))

    def add(self, new: SparseActivations, old: SparseActivations, num_tokens: int) -> None:
        """Both SAEs on the same piece of text."""
        new_NT = coo_array(
            (new.values_E.astype(np.float64), (new.latents_E, new.tokens_E)),
            shape=(len(self._new_N), num_tokens),
        ).tocsr()
        # The rows of the old one are those of its partners.
        news_E = self._news_M[old.latents_E]
        kept = news_E != NONE
        old_NT = coo_array(
            (old.values_E[kept].astype(np.float64), (news_E[kept], old.tokens_E[kept])),
            shape=new_NT.shape,
        ).tocsr()
        self._num_tokens += num_tokens
        self._new_N += new_NT.sum(axis=1)
        self._old_N += old_NT.sum(axis=1)
        self._new_squared_N += new_NT.multiply(new_NT).sum(axis=1)
        self._old_squared_N += old_NT.multiply(old_NT).sum(axis=1)
        self._product_N += new_NT.multiply(old_NT).sum(axis=1)

    def correlations_N(self) -> npt.NDArray[np.float32]:
        """Over all text so far: 0 where only one of the two fires, NaN for neither or a birth."""
        new_N = self._num_tokens * self._new_squared_N - self._new_N**2
        old_N = self._num_tokens * self._old_squared_N - self._old_N**2
        both_N = self._num_tokens * self._product_N - self._new_N * self._old_N
        found_N = np.full(len(new_N), np.nan, np.float32)
        fires = self._matched[(self._new_squared_N + self._old_squared_N)[self._matched] > 0]
        found_N[fires] = 0
        vary = fires[(new_N * old_N)[fires] > 0]
        found_N[vary] = both_N[vary] / np.sqrt(new_N[vary] * old_N[vary])
        return found_N
