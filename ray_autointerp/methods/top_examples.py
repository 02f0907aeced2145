"""Top examples: the most active windows of each latent, and how partial results merge.

Results of several token shards merge to the same examples however the windows were cut into
shards.
"""

# E examples, N their non-zero activations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ray_autointerp.methods.example_rank import Ranking, Strongest
from ray_autointerp.methods.offsets import offsets_of
from ray_autointerp.methods.radix_order import radix_order


@dataclass(frozen=True)
class TopExamples:
    """The most active windows of each latent and side, flat.

    Sorted by (latent, side, activation falling, window); ties in activation put the smaller
    window id first. `peaks_E` is the first position with the maximum. The non-zeros of example e
    in its window are `positions_N[offsets_E1[e]:offsets_E1[e + 1]]` (rising) and `values_N` there.
    """

    latents_E: npt.NDArray[np.int32]
    is_score_E: npt.NDArray[np.bool_]
    windows_E: npt.NDArray[np.int64]
    peaks_E: npt.NDArray[np.int16]
    activations_E: npt.NDArray[np.float32]
    offsets_E1: npt.NDArray[np.int64]
    positions_N: npt.NDArray[np.int16]
    values_N: npt.NDArray[np.float32]


def merge_examples(
    parts: Sequence[TopExamples], num_kept: int, ranking: Ranking | None = None
) -> TopExamples:
    """The first examples of each group of all parts together; the strongest, by default.

    Associative, commutative and independent of how windows were cut into parts, as long as no
    window is in two of them.
    """
    examples = join_examples([empty_examples(), *parts])
    groups_E, priorities_E = ranked(examples, ranking or Strongest())
    order = radix_order(examples.windows_E, priorities_E, groups_E)
    return take_examples(examples, order[ranks(groups_E[order]) < num_kept])


def ranked(
    examples: TopExamples, ranking: Ranking
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The group [E] of each example and its priority [E] within the group."""
    latents_E, activations_E = examples.latents_E, examples.activations_E
    return (
        ranking.groups(latents_E, examples.is_score_E, activations_E),
        ranking.priorities(latents_E, examples.windows_E, activations_E),
    )


def empty_examples() -> TopExamples:
    """No examples: the neutral element of `merge_examples`."""
    return TopExamples(
        np.zeros(0, np.int32),
        np.zeros(0, np.bool_),
        np.zeros(0, np.int64),
        np.zeros(0, np.int16),
        np.zeros(0, np.float32),
        np.zeros(1, np.int64),
        np.zeros(0, np.int16),
        np.zeros(0, np.float32),
    )


def join_examples(parts: Sequence[TopExamples]) -> TopExamples:
    """All examples of at least one part, one part after the other."""
    counts_E = np.concatenate([np.diff(part.offsets_E1) for part in parts])
    return TopExamples(
        np.concatenate([part.latents_E for part in parts]),
        np.concatenate([part.is_score_E for part in parts]),
        np.concatenate([part.windows_E for part in parts]),
        np.concatenate([part.peaks_E for part in parts]),
        np.concatenate([part.activations_E for part in parts]),
        offsets_of(counts_E),
        np.concatenate([part.positions_N for part in parts]),
        np.concatenate([part.values_N for part in parts]),
    )


def take_examples(examples: TopExamples, chosen: npt.NDArray[np.int64]) -> TopExamples:
    """Some of the examples, in the order given.

    `take`, unlike indexing, leaves Python to other threads: a GPU is fed by one of them.
    """
    counts = np.diff(examples.offsets_E1).take(chosen)
    offsets = offsets_of(counts)
    shift = np.repeat(examples.offsets_E1.take(chosen) - offsets[:-1], counts)
    entries = shift + np.arange(offsets[-1])
    return TopExamples(
        examples.latents_E.take(chosen),
        examples.is_score_E.take(chosen),
        examples.windows_E.take(chosen),
        examples.peaks_E.take(chosen),
        examples.activations_E.take(chosen),
        offsets,
        examples.positions_N.take(entries),
        examples.values_N.take(entries),
    )


def run_starts(keys: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where each run of equal neighbours begins."""
    is_start = np.ones(len(keys), bool)
    is_start[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(is_start)


def ranks(keys: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The place of each element within its run of equal neighbours, from 0."""
    starts = run_starts(keys)
    lengths = np.diff(np.append(starts, len(keys)))
    return np.arange(len(keys)) - np.repeat(starts, lengths)
