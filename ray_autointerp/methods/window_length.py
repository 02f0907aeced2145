"""How long the windows are on which latents are clamped, given the windows that there are.

One length for both sides of the split, so that estimates of one are judged on the like of them.
"""

from collections.abc import Mapping

LEAST_EXPLAIN = 2
"""Explain-side windows that a standard error over windows needs."""
LEAST_SCORE = 4
"""Score-side windows that agreement needs: two halves of two."""

LengthCounts = Mapping[int, int]
"""Windows of each length in tokens."""


def window_length(
    explain: LengthCounts, score: LengthCounts, longest: int, num_windows: int
) -> int | None:
    """Tokens per window, given how many windows of each length a side has; None if too few.

    `longest` if both sides have `num_windows` of it. Otherwise the length of most tokens in all,
    where the side with fewer windows counts, `num_windows` at most; of equals, the longer.
    """
    best: tuple[int, int] | None = None
    for length in sorted({min(length, longest) for length in (*explain, *score)}):
        on_explain, on_score = (_at_least(length, counts) for counts in (explain, score))
        if length >= 2 and on_explain >= LEAST_EXPLAIN and on_score >= LEAST_SCORE:
            served = min(on_explain, on_score, num_windows) * length
            best = max(best or (0, 0), (served, length))
    return best[1] if best else None


def _at_least(length: int, counts: LengthCounts) -> int:
    return sum(number for own, number in counts.items() if own >= length)
