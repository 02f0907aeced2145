"""The windows' length: as configured where the text allows it, else what serves most of it."""

from collections import Counter

import pytest

from ray_autointerp.methods.window_length import window_length


@pytest.mark.parametrize(
    ("explain", "score", "length"),
    [
        ([64] * 8 + [5] * 90, [40] * 8, 32),  # enough of the full length: the others do not count
        ([20] * 50, [18] * 50, 18),  # tweets
        ([32] * 6 + [3] * 50, [32] * 6, 32),  # fewer, but longer, hold more text
        ([32] * 2 + [20] * 50, [32] * 4 + [20] * 50, 20),
        ([32], [32] * 50, None),
        ([32] * 50, [32] * 3, None),
        ([32] * 50, [], None),
        ([1] * 50, [1] * 50, None),
    ],
)
def test_length_serves_most_text_on_both_sides(
    explain: list[int], score: list[int], length: int | None
) -> None:
    assert window_length(Counter(explain), Counter(score), 32, 8) == length
