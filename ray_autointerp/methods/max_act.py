"""MaxAct: the windows in which each latent is most active (methods 4.1, 16).

One `ExampleSieve` per SAE and token shard, fed in a stream; memory is bounded by what is kept,
cost goes by active entries and not by the width of the SAE. Partial results of several shards
merge to the same top examples however the windows were cut into shards.
Independent of models, text and files: the input is activations.
"""

# W windows, T positions, L latents, S sides (0 explain, 1 score), N active entries, E examples

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ray_autointerp.errors import TaskError
from ray_autointerp.methods.example_rank import (
    NUM_BINS,
    Ranking,
    Stratified,
    Strongest,
    activation_bins,
)
from ray_autointerp.methods.firing_stats import FiringStats, tokens_by_side
from ray_autointerp.methods.radix_order import radix_order
from ray_autointerp.methods.top_examples import (
    TopExamples,
    empty_examples,
    merge_examples,
    ranked,
    ranks,
    run_starts,
    take_examples,
)


@dataclass(frozen=True)
class ActiveEntries:
    """Non-zero activations of some windows: entry n is one latent at one position of one window.

    `rows_N` counts windows within the batch and rises, `positions_N` rises within a row. No
    (row, position, latent) comes twice.
    """

    rows_N: Tensor
    positions_N: Tensor
    latents_N: Tensor
    values_N: Tensor


def active_entries(acts_WTL: Tensor, mask_WT: Tensor) -> ActiveEntries:
    """The non-zeros of dense activations at positions where the mask is true.

    The mask is false at BOS, pads, other specials and attention sinks.
    """
    rows_N, positions_N, latents_N = ((acts_WTL != 0) & mask_WT[..., None]).nonzero(as_tuple=True)
    return ActiveEntries(
        rows_N, positions_N, latents_N, acts_WTL[rows_N, positions_N, latents_N].float()
    )


class _Keeper:
    """The first `num_kept` examples of every group of a ranking, fed in a stream."""

    def __init__(
        self, num_latents: int, num_kept: int, ranking: Ranking, max_buffered: int
    ) -> None:
        self._num_kept = num_kept
        self._ranking = ranking
        self._max_buffered = max_buffered
        self._limit = max_buffered
        self.num_buffered = 0
        self._parts = [empty_examples()]
        self._threshold_G = np.full(ranking.num_groups(num_latents), ranking.worst)

    def add(self, found: TopExamples) -> None:
        """Buffer what may still be among the first of its group."""
        groups_E, priorities_E = ranked(found, self._ranking)
        chosen = np.flatnonzero(priorities_E <= self._threshold_G[groups_E])
        if len(chosen) < len(groups_E):
            found = take_examples(found, chosen)
        self._parts.append(found)
        self.num_buffered += len(found.values_N)
        if self.num_buffered > self._limit:
            self.compact()

    def compact(self) -> TopExamples:
        """The examples kept of everything added so far."""
        kept = merge_examples(self._parts, self._num_kept, self._ranking)
        groups_E, priorities_E = ranked(kept, self._ranking)
        last = np.flatnonzero(ranks(groups_E) == self._num_kept - 1)
        self._threshold_G[groups_E[last]] = priorities_E[last]
        self._parts = [kept]
        self.num_buffered = len(kept.values_N)
        self._limit = max(self._max_buffered, 2 * self.num_buffered)
        return kept


class ExampleSieve:
    """Keeps the examples of one SAE over one token shard, and its firing statistics.

    The top examples always; of every strength a few, where `num_per_bin` is not 0.

    Each window is added once. At most `max_buffered` entries, or twice what is kept if that is
    more, wait between two compactions; a window that cannot reach the top is never buffered.
    The examples do not depend on the order or batching of the windows; float64 sums of
    activations do in their last bits.
    """

    def __init__(
        self,
        num_latents: int,
        num_kept: int,
        max_buffered: int = 4_000_000,
        *,
        num_per_bin: int = 0,
        seed: int = 0,
    ) -> None:
        self._top = _Keeper(num_latents, num_kept, Strongest(), max_buffered)
        self._stratified = (
            _Keeper(num_latents, num_per_bin, Stratified(seed), max_buffered)
            if num_per_bin
            else None
        )
        self._histogram_LSB = np.zeros((num_latents, 2, NUM_BINS), np.int64)
        self._num_tokens_S = np.zeros(2, np.int64)
        self._num_active_LS = np.zeros((num_latents, 2), np.int64)
        self._sum_LS = np.zeros((num_latents, 2), np.float64)
        self._max_LS = np.zeros((num_latents, 2), np.float32)

    def add(
        self,
        windows_W: Tensor,
        is_score_W: Tensor,
        num_tokens_W: Tensor,
        entries: ActiveEntries,
    ) -> None:
        """Take in a batch of windows: their ids, side, number of unmasked tokens, activations.

        Entries that are not positive are not active and are left out. A non-finite one is a
        `TaskError`: it means the pass went wrong, and a maximum over it would mean nothing.
        """
        is_score = is_score_W.cpu().numpy().astype(bool)
        self._num_tokens_S += tokens_by_side(num_tokens_W.cpu().numpy(), is_score)
        found = _examples_of(windows_W.cpu().numpy(), is_score, entries)
        if len(found.latents_E) == 0:
            return
        self._count(found)
        self._top.add(found)
        if self._stratified is not None:
            self._stratified.add(found)

    def examples(self) -> TopExamples:
        """The top examples of everything added so far."""
        return self._top.compact()

    def stratified(self) -> TopExamples:
        """The seeded examples of every strength of everything added so far."""
        return empty_examples() if self._stratified is None else self._stratified.compact()

    @property
    def num_buffered(self) -> int:
        """Active entries held now."""
        return self._top.num_buffered + (self._stratified.num_buffered if self._stratified else 0)

    def firing_stats(self) -> FiringStats:
        """The firing statistics of everything added so far."""
        return FiringStats(
            self._num_tokens_S.copy(),
            self._num_active_LS.copy(),
            self._sum_LS.copy(),
            self._max_LS.copy(),
            self._histogram_LSB.copy(),
        )

    def _count(self, found: TopExamples) -> None:
        starts = run_starts(found.latents_E * np.int64(2) + found.is_score_E)
        entry_starts = found.offsets_E1[starts]
        where = (found.latents_E[starts], found.is_score_E[starts].astype(np.int64))
        self._num_active_LS[where] += np.diff(np.append(entry_starts, len(found.values_N)))
        self._sum_LS[where] += np.add.reduceat(found.values_N, entry_starts, dtype=np.float64)
        largest = np.maximum.reduceat(found.values_N, entry_starts)
        self._max_LS[where] = np.maximum(self._max_LS[where], largest)
        side_N = np.repeat(
            found.latents_E * np.int64(2) + found.is_score_E, np.diff(found.offsets_E1)
        )
        flat_B = self._histogram_LSB.reshape(-1)
        np.add.at(flat_B, side_N * NUM_BINS + activation_bins(found.values_N), 1)


def _examples_of(
    windows_W: npt.NDArray[np.int64], is_score_W: npt.NDArray[np.bool_], entries: ActiveEntries
) -> TopExamples:
    """One example per (latent, window) in which the latent is active, by latent, side, row."""
    values_N = entries.values_N.detach().float().cpu().numpy()
    if not np.isfinite(values_N).all():
        raise TaskError(
            "an activation of the SAE is not finite, as the forward pass overflowed: if "
            "subject.dtype is `float16`, set it to `bfloat16` or `float32` under another run.name"
        )
    rows_N = entries.rows_N.cpu().numpy()
    positions_N = entries.positions_N.cpu().numpy().astype(np.int16)
    group_N = entries.latents_N.cpu().numpy().astype(np.int64)
    group_N = (group_N * 2 + is_score_W[rows_N]) * len(windows_W) + rows_N
    active = np.flatnonzero(values_N > 0)
    if len(active) == 0:
        return empty_examples()
    order = active[radix_order(group_N[active])]
    group_N, values_N, positions_N = group_N[order], values_N[order], positions_N[order]
    starts = run_starts(group_N)
    offsets_E1 = np.append(starts, len(values_N))
    activations_E = np.maximum.reduceat(values_N, starts)
    is_peak_N = values_N == np.repeat(activations_E, np.diff(offsets_E1))
    at_peak = np.flatnonzero(is_peak_N)
    first_E = at_peak[run_starts(group_N[at_peak])]
    side_E, row_E = np.divmod(group_N[starts], len(windows_W))
    return TopExamples(
        (side_E // 2).astype(np.int32),
        (side_E % 2).astype(np.bool_),
        windows_W[row_E],
        positions_N[first_E],
        activations_E,
        offsets_E1,
        positions_N,
        values_N,
    )
