"""Which side a document is on: a hash of its smallest 13-token shingle hash.

Local to a document and deterministic; copies of a text, and most near-copies, land on the same
side of the explain / score split, since they share their smallest shingle. Knows token ids only.
"""

# N tokens of a document

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Side = Literal["explain", "score"]

SHINGLE_LENGTH = 13
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def split_of(token_ids: Sequence[int] | npt.NDArray[np.integer], score_share: float = 0.5) -> Side:
    """The side of a document, given its tokens without BOS.

    A document shorter than 13 tokens is hashed whole. Over documents, `score_share` of them are
    expected on the score side.
    """
    place = mix_bits(np.array([shingle_hashes(token_ids).min()]) + MULTIPLIER)[0]
    return "score" if float(place) / 2.0**64 < score_share else "explain"


def shingle_hashes(
    token_ids: Sequence[int] | npt.NDArray[np.integer],
) -> npt.NDArray[np.uint64]:
    """The 64-bit hash of each run of 13 tokens, in order; of the whole if it is shorter."""
    mixed_N = mix_bits(np.asarray(token_ids).astype(np.uint64) + MULTIPLIER)
    length = min(SHINGLE_LENGTH, len(mixed_N))
    hashes = np.full(len(mixed_N) - length + 1, np.uint64(length))
    for offset in range(length):
        hashes = hashes * MULTIPLIER + mixed_N[offset : offset + len(hashes)]
    return mix_bits(hashes)


def mix_bits(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64, wrapping around at 64 bits (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
