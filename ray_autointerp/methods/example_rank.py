"""Which examples of a latent are kept: the strongest, or a seeded few of every strength.

A ranking sorts examples into groups and gives each a priority within its group; the first k of
each group are kept. Both depend on the example alone, so that partial results merge to the same
examples however the windows were cut into shards.
"""

# E examples

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ray_autointerp.methods.shingle import mix_bits

LOWEST_EXPONENT, NUM_BINS = -12, 24
"""Bins of activation are powers of two, from 2^-12 to 2^12: fixed, so that no data moves them."""

BINS_IN_USE = 5
"""Bins over which the activations of one latent spread, about: how many each must give."""


def activation_bins(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The bin floor(log2 a) of each positive activation, from 0; the outer bins are open."""
    exponents = np.frexp(values)[1].astype(np.int64) - 1
    return np.clip(exponents - LOWEST_EXPONENT, 0, NUM_BINS - 1)


class Ranking(Protocol):
    """How examples are grouped and ordered. Smaller priorities come first."""

    @property
    def worst(self) -> int:
        """A priority that no example exceeds."""

    def num_groups(self, num_latents: int) -> int:
        """Groups over all latents and both sides."""

    def groups(
        self,
        latents_E: npt.NDArray[np.int32],
        is_score_E: npt.NDArray[np.bool_],
        activations_E: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.int64]:
        """The group of each example; rises with latent and side."""

    def priorities(
        self,
        latents_E: npt.NDArray[np.int32],
        windows_E: npt.NDArray[np.int64],
        activations_E: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.int64]:
        """The priority of each example."""


@dataclass(frozen=True)
class Strongest:
    """By falling activation."""

    worst: int = 0

    def num_groups(self, num_latents: int) -> int:
        """One per latent and side."""
        return 2 * num_latents

    def groups(
        self,
        latents_E: npt.NDArray[np.int32],
        is_score_E: npt.NDArray[np.bool_],
        activations_E: npt.NDArray[np.float32],  # noqa: ARG002
    ) -> npt.NDArray[np.int64]:
        """Latent and side."""
        return latents_E * np.int64(2) + is_score_E

    def priorities(
        self,
        latents_E: npt.NDArray[np.int32],  # noqa: ARG002
        windows_E: npt.NDArray[np.int64],  # noqa: ARG002
        activations_E: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.int64]:
        """The activation's bits, turned: positive floats are ordered as their bits are."""
        return -activations_E.view(np.int32).astype(np.int64)


@dataclass(frozen=True)
class Stratified:
    """By a seeded hash within each power of two of activation."""

    seed: int
    worst: int = 2**63 - 1

    def num_groups(self, num_latents: int) -> int:
        """One per latent, side and bin."""
        return 2 * NUM_BINS * num_latents

    def groups(
        self,
        latents_E: npt.NDArray[np.int32],
        is_score_E: npt.NDArray[np.bool_],
        activations_E: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.int64]:
        """Latent, side and bin."""
        side_E = latents_E * np.int64(2) + is_score_E
        return side_E * NUM_BINS + activation_bins(activations_E)

    def priorities(
        self,
        latents_E: npt.NDArray[np.int32],
        windows_E: npt.NDArray[np.int64],
        activations_E: npt.NDArray[np.float32],  # noqa: ARG002
    ) -> npt.NDArray[np.int64]:
        """A hash of seed, latent and window, moved to where signed numbers are."""
        hashes_E = window_hashes(windows_E, self.seed, latents_E)
        return (hashes_E ^ np.uint64(2**63)).view(np.int64)


def window_hashes(
    windows_E: npt.NDArray[np.int64], seed: int, salts_E: npt.NDArray[np.integer] | int = 0
) -> npt.NDArray[np.uint64]:
    """64 bits per window that depend on window, seed and salt alone."""
    start = mix_bits(np.array([seed % 2**64], np.uint64))[0]
    salted_E = mix_bits(np.atleast_1d(salts_E).astype(np.uint64) ^ start)
    return mix_bits(windows_E.astype(np.uint64) ^ salted_E)
