"""How long the windows are on which latents are clamped, given the windows that there are.

One length for both sides of the split, so that estimates of one are judged on the like of them.
"""

import numpy as np
import numpy.typing as npt

LEAST_EXPLAIN = 2
"""Explain-side windows that a standard error over windows needs."""
LEAST_SCORE = 4
"""Score-side windows that agreement needs: two halves of two."""

_Lengths = npt.NDArray[np.integer]


def window_length(explain: _Lengths, score: _Lengths, longest: int, num_windows: int) -> int | None:
    """Tokens per window, given the lengths of each side's windows; None if too few are there.

    `longest` if both sides have `num_windows` of it. Otherwise the length of most tokens in all,
    where the side with fewer windows counts, `num_windows` at most; of equals, the longer.
    """
    lengths = np.unique(np.minimum(np.concatenate([explain, score]), longest))
    best: tuple[int, int] | None = None
    for length in lengths[lengths >= 2].tolist():
        on_explain, on_score = int((explain >= length).sum()), int((score >= length).sum())
        if on_explain >= LEAST_EXPLAIN and on_score >= LEAST_SCORE:
            served = min(on_explain, on_score, num_windows) * length
            best = max(best or (0, 0), (served, length))
    return best[1] if best else None
