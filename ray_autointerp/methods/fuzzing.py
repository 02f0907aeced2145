"""Fuzzing: two cuts of one text whose marks differ in what they stand on, and in nothing else.

The cut that is marked rightly has its active tokens marked. The other begins elsewhere in the same
text, holds the peak too, and has the marks at the very same places: where no token is active. Each
of the two could as well have been the other, so that neither the number of marks, their places or
their runs, nor the text tells which is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MarkedCuts:
    """Where two cuts of a text begin, and the places marked in both, counted from there."""

    active: int
    inactive: int
    places: tuple[int, ...]


def marked_cuts(
    activations: Sequence[float], peak: int, length: int, seed: int
) -> MarkedCuts | None:
    """A pair of cuts of `length` tokens, by seed; None where the text has no such pair."""
    starts = range(max(0, peak - length + 1), min(peak, len(activations) - length) + 1)
    active = {start: _active_places(activations, start, length) for start in starts}
    pairs = [(a, b) for a in starts for b in starts if a != b and not active[a] & active[b]]
    if not pairs:
        return None
    right, wrong = pairs[seed % len(pairs)]
    return MarkedCuts(right, wrong, tuple(sorted(active[right])))


def _active_places(activations: Sequence[float], start: int, length: int) -> set[int]:
    return {place for place in range(length) if activations[start + place] > 0}
