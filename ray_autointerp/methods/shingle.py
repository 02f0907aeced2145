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
_NONE: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
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


def window_shingles(
    token_ids_N: npt.NDArray[np.integer], offsets_W1: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The shingle hashes of each window, in order, and the window that each is of.

    Window w has the tokens between two offsets; one without tokens has no shingles.
    """
    length_W = np.diff(offsets_W1)
    is_short_W = length_W < SHINGLE_LENGTH
    all_N = shingle_hashes(token_ids_N) if len(token_ids_N) >= SHINGLE_LENGTH else _NONE
    count_W = np.where(is_short_W, 0, length_W - SHINGLE_LENGTH + 1)
    window_S = np.repeat(np.arange(len(length_W)), count_W)
    first_W = np.cumsum(count_W) - count_W
    place_S = np.arange(len(window_S)) + (offsets_W1[:-1] - first_W)[window_S]
    short = [w for w in np.flatnonzero(is_short_W).tolist() if length_W[w]]
    whole = [shingle_hashes(token_ids_N[offsets_W1[w] : offsets_W1[w + 1]]) for w in short]
    hashes = np.concatenate([all_N[place_S], *whole])
    windows = np.concatenate([window_S, np.array(short, np.int64)])
    order = np.argsort(windows, kind="stable")
    return hashes[order], windows[order]


def mix_bits(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64, wrapping around at 64 bits (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
