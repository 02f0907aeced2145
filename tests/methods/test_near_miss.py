"""Near misses and following tokens, by hand and by a slow search."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.near_miss import NearMiss, TokenPlaces, following_tokens, near_misses

WINDOWS = {10: [0, 7, 8], 11: [0, 8, 8, 7], 12: [0, 1, 2], 13: [0, 7], 14: [9, 8]}
RANK = {window: -window for window in WINDOWS}


def test_silent_windows_with_the_weightiest_peak_tokens_come_first() -> None:
    peaks = [(7, 2.0), (8, 1.0), (7, 0.5), (99, 9.0)]
    found = near_misses(peaks, {13}, TokenPlaces(WINDOWS), RANK, 3)
    assert found == [NearMiss(11, 3), NearMiss(10, 1), NearMiss(14, 1)]


def test_no_window_in_which_the_latent_fires_is_a_miss() -> None:
    assert near_misses([(7, 1.0), (8, 1.0)], set(WINDOWS), TokenPlaces(WINDOWS), RANK, 9) == []


@given(
    windows=st.dictionaries(
        st.integers(0, 30), st.lists(st.integers(0, 8), min_size=1, max_size=6), max_size=12
    ),
    peaks=st.lists(st.tuples(st.integers(0, 8), st.sampled_from([1.0, 2.0])), max_size=4),
    fires=st.sets(st.integers(0, 30), max_size=8),
)
def test_ranking_equals_a_search_through_every_window(windows, peaks, fires) -> None:
    weight: dict[int, float] = {}
    for token, activation in peaks:
        weight[token] = weight.get(token, 0) + activation
    scored = [
        (-sum(weight[t] for t in weight if t in ids), window)
        for window, ids in windows.items()
        if window not in fires and any(t in ids for t in weight)
    ]
    found = near_misses(peaks, fires, TokenPlaces(windows), {w: w for w in windows}, 5)
    assert [miss.window for miss in found] == [window for _, window in sorted(scored)[:5]]
    for miss in found:
        assert windows[miss.window][miss.position] in weight


def test_following_tokens_are_counted_commonest_first_and_smaller_ids_before() -> None:
    assert following_tokens([9, 6, 6, 3], 2) == [(6, 2), (3, 1)]
