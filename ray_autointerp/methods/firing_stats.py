"""How often and how strongly each latent fires, per side of the document split.

Counts, sums and maxima of one token shard, their merging over shards, and what follows
from them: density, mean activation, dead latents. Independent of files and SAEs.
"""

# L latents, S sides of the document split (0 explain, 1 score)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

EXPLAIN, SCORE = 0, 1


@dataclass(frozen=True)
class FiringStats:
    """Firing of every latent of one SAE over some tokens.

    `num_tokens_S` int64 counts the tokens looked at (specials and sinks left out),
    `num_active_LS` int64 those with a positive activation, `sum_activation_LS` float64 and
    `max_activation_LS` float32 are over the active ones, 0 where there are none.
    """

    num_tokens_S: npt.NDArray[np.int64]
    num_active_LS: npt.NDArray[np.int64]
    sum_activation_LS: npt.NDArray[np.float64]
    max_activation_LS: npt.NDArray[np.float32]
    histogram_LSB: npt.NDArray[np.int64]
    """Active tokens per power of two of activation (example_rank.py)."""


def tokens_by_side(
    num_tokens_W: npt.NDArray[np.integer[Any]], is_score_W: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Tokens [S] of each side, from those of each window."""
    return np.array([num_tokens_W[~is_score_W].sum(), num_tokens_W[is_score_W].sum()], np.int64)


@dataclass(frozen=True)
class LatentStats:
    """What a reader wants to know of each latent; masked entries are nulls, never numbers.

    `density_L` and `mean_activation_L` are over both sides, `mean_activation_L` over active
    tokens only; `max_activation_L` is of the explain side, on which evidence and clamps rest,
    `max_activation_score_L` of the other. A latent is dead when it fired on neither side.
    """

    num_active_explain_L: npt.NDArray[np.int64]
    num_active_score_L: npt.NDArray[np.int64]
    density_L: npt.NDArray[np.float64]
    mean_activation_L: "np.ma.MaskedArray[Any, np.dtype[np.float32]]"
    max_activation_L: "np.ma.MaskedArray[Any, np.dtype[np.float32]]"
    max_activation_score_L: "np.ma.MaskedArray[Any, np.dtype[np.float32]]"
    is_dead_L: npt.NDArray[np.bool_]


def merge_firing_stats(parts: Sequence[FiringStats]) -> FiringStats:
    """Statistics over all parts together; the order of the parts changes no bit.

    Counts and maxima are exact under any grouping too. Float64 sums are added smallest first,
    so regrouping (merging merged parts) can change their last bits, about 1e-16 relative.
    """
    assert parts, "no firing statistics to merge"
    sums = np.sort(np.stack([part.sum_activation_LS for part in parts]), axis=0)
    return FiringStats(
        num_tokens_S=np.sum([part.num_tokens_S for part in parts], axis=0, dtype=np.int64),
        num_active_LS=np.sum([part.num_active_LS for part in parts], axis=0, dtype=np.int64),
        sum_activation_LS=sums.sum(axis=0),
        max_activation_LS=np.max([part.max_activation_LS for part in parts], axis=0),
        histogram_LSB=np.sum([part.histogram_LSB for part in parts], axis=0, dtype=np.int64),
    )


def latent_stats(stats: FiringStats) -> LatentStats:
    """Density, mean and maxima of every latent; density is 0 when no token was looked at."""
    num_active_L = stats.num_active_LS.sum(axis=1)
    sum_L = stats.sum_activation_LS.sum(axis=1)
    mean_L = sum_L / np.maximum(num_active_L, 1)
    is_silent_LS = stats.num_active_LS == 0
    return LatentStats(
        num_active_explain_L=stats.num_active_LS[:, EXPLAIN],
        num_active_score_L=stats.num_active_LS[:, SCORE],
        density_L=num_active_L / max(int(stats.num_tokens_S.sum()), 1),
        mean_activation_L=_masked(mean_L, num_active_L == 0),
        max_activation_L=_masked(stats.max_activation_LS[:, EXPLAIN], is_silent_LS[:, EXPLAIN]),
        max_activation_score_L=_masked(stats.max_activation_LS[:, SCORE], is_silent_LS[:, SCORE]),
        is_dead_L=num_active_L == 0,
    )


def _masked(
    values: npt.NDArray[np.floating], is_null: npt.NDArray[np.bool_]
) -> "np.ma.MaskedArray[Any, np.dtype[np.float32]]":
    # numpy 2.3 leaves its masked arrays without types.
    return np.ma.MaskedArray(values.astype(np.float32), mask=is_null)  # type: ignore[no-untyped-call]
