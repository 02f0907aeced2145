"""The sieve of MaxAct on the device that holds the activations (methods 4.1, 16).

On a GPU the pass is quicker than a processor can sort what it finds: entries are grouped, counted,
compared with the thresholds and merged where they are, and only what is kept in the end is fetched.
Gives what `ExampleSieve` gives; float64 sums of activations differ in their last bits.
"""

# W windows, N active entries, E examples, G groups of a ranking, L latents, S sides

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ray_autointerp.errors import TaskError
from ray_autointerp.methods.example_rank import LOWEST_EXPONENT, NUM_BINS
from ray_autointerp.methods.firing_stats import FiringStats, tokens_by_side
from ray_autointerp.methods.max_act import ActiveEntries
from ray_autointerp.methods.offsets import offsets_of
from ray_autointerp.methods.top_examples import TopExamples, empty_examples

_SIGN = -(2**63)
_GOLDEN_MIX = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
"""The multipliers of `shingle.mix_bits` as signed numbers: PyTorch multiplies those modulo 2^64."""


@dataclass(frozen=True)
class _Examples:
    """Examples as tensors: one per latent and window, their entries between two offsets."""

    side_E: Tensor
    """Latent times two, plus one on the score side."""
    windows_E: Tensor
    peaks_E: Tensor
    activations_E: Tensor
    counts_E: Tensor
    positions_N: Tensor
    values_N: Tensor

    def take(self, chosen: Tensor) -> "_Examples":
        """Some of the examples, in the order given."""
        starts_E = self.counts_E.cumsum(0) - self.counts_E
        counts = self.counts_E[chosen]
        total = int(counts.sum())
        shift = starts_E[chosen] - (counts.cumsum(0) - counts)
        entries = torch.repeat_interleave(shift, counts, output_size=total)
        entries += torch.arange(total, device=entries.device)
        return _Examples(
            self.side_E[chosen],
            self.windows_E[chosen],
            self.peaks_E[chosen],
            self.activations_E[chosen],
            counts,
            self.positions_N[entries],
            self.values_N[entries],
        )


class _DeviceKeeper:
    """The first `num_kept` examples of every group, fed in a stream."""

    def __init__(self, num_groups: int, num_kept: int, worst: int, device: torch.device) -> None:
        self._num_kept = num_kept
        self._threshold_G = torch.full((num_groups,), worst, dtype=torch.int64, device=device)
        self._kept: _Examples | None = None
        self._waiting: list[_Examples] = []
        self._num_waiting = 0

    def add(self, found: _Examples, groups_E: Tensor, priorities_E: Tensor, most: int) -> bool:
        """Hold what may still be among the first; whether more than `most` entries wait."""
        chosen = (priorities_E <= self._threshold_G[groups_E]).nonzero()[:, 0]
        self._waiting.append(found.take(chosen))
        self._num_waiting += len(self._waiting[-1].values_N)
        kept = 0 if self._kept is None else len(self._kept.values_N)
        return self._num_waiting > max(most, kept)

    def holds_any(self) -> bool:
        """Whether anything was added."""
        return self._kept is not None or bool(self._waiting)

    def joined(self) -> _Examples:
        """Everything held."""
        parts = [*([self._kept] if self._kept else []), *self._waiting]
        return _Examples(
            *map(torch.cat, zip(*(vars(part).values() for part in parts), strict=True))
        )

    def keep(self, held: _Examples, groups_E: Tensor, priorities_E: Tensor) -> _Examples:
        """Of everything held, the first of each group, by group, priority and window."""
        order = held.windows_E.sort(stable=True).indices
        for key_E in (priorities_E, groups_E):
            order = order[key_E[order].sort(stable=True).indices]
        groups_E, priorities_E = groups_E[order], priorities_E[order]
        place = torch.arange(len(order), device=order.device)
        rank_E = place - torch.searchsorted(groups_E, groups_E)
        is_last_E = rank_E == self._num_kept - 1
        self._threshold_G[groups_E[is_last_E]] = priorities_E[is_last_E]
        self._kept = held.take(order[rank_E < self._num_kept])
        self._waiting, self._num_waiting = [], 0
        return self._kept


class DeviceSieve:
    """Keeps the examples of one SAE over one token shard, and its firing statistics.

    As `ExampleSieve`, for entries on `device`, where everything kept stays until it is asked for.
    """

    def __init__(
        self,
        num_latents: int,
        num_kept: int,
        device: torch.device,
        max_buffered: int = 64_000_000,
        *,
        num_per_bin: int = 0,
        seed: int = 0,
    ) -> None:
        self._max_buffered = max_buffered
        self._seed = seed
        sides = 2 * num_latents
        self._top = _DeviceKeeper(sides, num_kept, 0, device)
        self._stratified = (
            _DeviceKeeper(sides * NUM_BINS, num_per_bin, 2**63 - 1, device) if num_per_bin else None
        )
        self._num_tokens_S = np.zeros(2, np.int64)
        self._histogram = torch.zeros(sides * NUM_BINS, dtype=torch.int64, device=device)
        self._num_active = torch.zeros(sides, dtype=torch.int64, device=device)
        self._sum = torch.zeros(sides, dtype=torch.float64, device=device)
        self._max = torch.zeros(sides, dtype=torch.float32, device=device)

    def add(
        self,
        windows_W: Tensor,
        is_score_W: Tensor,
        num_tokens_W: Tensor,
        entries: ActiveEntries,
    ) -> None:
        """Take in a batch of windows, as `ExampleSieve.add` does. Raises TaskError likewise."""
        is_score = is_score_W.cpu().numpy().astype(bool)
        self._num_tokens_S += tokens_by_side(num_tokens_W.cpu().numpy(), is_score)
        device = entries.values_N.device
        found = self._examples_of(windows_W.to(device), is_score_W.to(device), entries)
        if len(found.side_E) == 0:
            return
        self._count(found)
        if self._top.add(found, *_strongest(found), self._max_buffered):
            self.examples_on_device()
        if self._stratified is not None and self._stratified.add(
            found, *self._by_strength(found), self._max_buffered
        ):
            self.stratified_on_device()

    def examples(self) -> TopExamples:
        """The top examples of everything added so far."""
        return _fetched(self.examples_on_device())

    def stratified(self) -> TopExamples:
        """The seeded examples of every strength of everything added so far."""
        return _fetched(self.stratified_on_device())

    def examples_on_device(self) -> _Examples | None:
        """The top examples, where they are."""
        if not self._top.holds_any():
            return None
        held = self._top.joined()
        return self._top.keep(held, *_strongest(held))

    def stratified_on_device(self) -> _Examples | None:
        """The seeded examples, where they are."""
        if self._stratified is None or not self._stratified.holds_any():
            return None
        held = self._stratified.joined()
        return self._stratified.keep(held, *self._by_strength(held))

    def firing_stats(self) -> FiringStats:
        """The firing statistics of everything added so far."""
        return FiringStats(
            self._num_tokens_S.copy(),
            self._num_active.view(-1, 2).cpu().numpy(),
            self._sum.view(-1, 2).cpu().numpy(),
            self._max.view(-1, 2).cpu().numpy(),
            self._histogram.view(-1, 2, NUM_BINS).cpu().numpy(),
        )

    def _examples_of(
        self, windows_W: Tensor, is_score_W: Tensor, entries: ActiveEntries
    ) -> _Examples:
        """One example per latent and window in which it is active, by latent, side, row."""
        values_N = entries.values_N.float()
        if not bool(values_N.isfinite().all()):
            raise TaskError("an activation of the SAE is not finite: the forward pass overflowed")
        side_N = entries.latents_N.long() * 2 + is_score_W.long()[entries.rows_N]
        key_N = side_N * len(windows_W) + entries.rows_N
        positions_N = entries.positions_N.to(torch.int16)
        is_active_N = values_N > 0
        if not bool(is_active_N.all()):
            key_N, positions_N, values_N = (x[is_active_N] for x in (key_N, positions_N, values_N))
        # Stable: of one latent and window the positions stay in rising order.
        key_N, order = key_N.sort(stable=True)
        positions_N, values_N = positions_N[order], values_N[order]
        key_E, example_N, counts_E = torch.unique_consecutive(
            key_N, return_inverse=True, return_counts=True
        )
        activations_E = values_N.new_zeros(len(key_E)).scatter_reduce(
            0, example_N, values_N, "amax"
        )
        at_peak = (values_N == activations_E[example_N]).nonzero()[:, 0]
        first_E = torch.full_like(key_E, len(key_N))
        first_E = first_E.scatter_reduce(0, example_N[at_peak], at_peak, "amin")
        return _Examples(
            key_E // len(windows_W),
            windows_W[key_E % len(windows_W)],
            positions_N[first_E],
            activations_E,
            counts_E,
            positions_N,
            values_N,
        )

    def _count(self, found: _Examples) -> None:
        num_sides = len(self._num_active)
        side_N = torch.repeat_interleave(
            found.side_E, found.counts_E, output_size=len(found.values_N)
        )
        active = side_N.bincount(minlength=num_sides)
        self._num_active += active
        # By segment and not by atomic additions, whose order would change the last bits.
        self._sum += torch.segment_reduce(found.values_N.double(), "sum", lengths=active, initial=0)
        self._max.scatter_reduce_(0, found.side_E, found.activations_E, "amax")
        bins_N = side_N * NUM_BINS + _bins(found.values_N)
        self._histogram += bins_N.bincount(minlength=num_sides * NUM_BINS)

    def _by_strength(self, found: _Examples) -> tuple[Tensor, Tensor]:
        """Groups and priorities of `example_rank.Stratified`."""
        groups_E = found.side_E * NUM_BINS + _bins(found.activations_E)
        seed = torch.tensor(_signed(self._seed), device=found.side_E.device)
        salted_E = _mixed(found.side_E // 2 ^ _mixed(seed))
        return groups_E, _mixed(found.windows_E ^ salted_E) ^ _SIGN


def _strongest(found: _Examples) -> tuple[Tensor, Tensor]:
    """Groups and priorities of `example_rank.Strongest`."""
    return found.side_E, -found.activations_E.view(torch.int32).long()


def _bins(values: Tensor) -> Tensor:
    """As `example_rank.activation_bins`."""
    exponents: Tensor = values.frexp().exponent.long() - 1
    return (exponents - LOWEST_EXPONENT).clamp(0, NUM_BINS - 1)


def _mixed(x: Tensor) -> Tensor:
    """As `shingle.mix_bits`, of 64-bit numbers held as signed ones."""
    for shift, multiplier in zip((30, 27), _GOLDEN_MIX, strict=True):
        x = (x ^ _shifted(x, shift)) * multiplier
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming in."""
    shifted: Tensor = (x >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _signed(number: int) -> int:
    number %= 2**64
    return number - 2**64 if number >= 2**63 else number


def _fetched(found: _Examples | None) -> TopExamples:
    """On the processor, in the order of `TopExamples`."""
    if found is None:
        return empty_examples()
    side_E = found.side_E.cpu().numpy()
    return TopExamples(
        (side_E // 2).astype(np.int32),
        (side_E % 2).astype(np.bool_),
        found.windows_E.cpu().numpy(),
        found.peaks_E.cpu().numpy(),
        found.activations_E.cpu().numpy(),
        offsets_of(found.counts_E.cpu().numpy()),
        found.positions_N.cpu().numpy(),
        found.values_N.cpu().numpy(),
    )
