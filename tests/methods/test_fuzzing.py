"""Two cuts of one text: alike in all but what the marks stand on."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.fuzzing import MarkedCuts, marked_cuts

TEXTS = st.tuples(
    *(st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0]), max_size=12) for _ in range(2))
).map(lambda around: [*around[0], 2.0, *around[1]])


def peak_of(activations: list[float]) -> int:
    return activations.index(max(activations))


@given(TEXTS, st.integers(1, 12), st.integers(0, 2**63 - 1))
def test_marks_of_one_cut_are_the_active_tokens_and_of_the_other_silent_ones(
    activations: list[float], length: int, seed: int
) -> None:
    peak = peak_of(activations)
    cuts = marked_cuts(activations, peak, length, seed)
    if cuts is None:
        return
    assert cuts.active != cuts.inactive
    for start in (cuts.active, cuts.inactive):
        assert 0 <= start <= peak < start + length <= len(activations)
    right = activations[cuts.active : cuts.active + length]
    wrong = activations[cuts.inactive : cuts.inactive + length]
    assert cuts.places == tuple(i for i, value in enumerate(right) if value > 0) != ()
    assert all(wrong[place] == 0 for place in cuts.places)


@given(TEXTS, st.integers(2, 8))
def test_either_cut_could_as_well_have_been_the_other(
    activations: list[float], length: int
) -> None:
    """Over all seeds, the unmarked texts of both kinds are the same, equally often."""
    found = [marked_cuts(activations, peak_of(activations), length, seed) for seed in range(240)]
    pairs = {(cuts.active, cuts.inactive) for cuts in found if cuts}
    assert {(wrong, right) for right, wrong in pairs} == pairs
    assert Counter(right for right, _ in pairs) == Counter(wrong for _, wrong in pairs)


@pytest.mark.parametrize(
    ("activations", "length"),
    [
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3),  # no silent token to mark
        ([2.0, 0.0, 0.0, 0.0], 2),  # the peak stands first in every cut that holds it
        ([0.0, 2.0, 0.0], 3),  # a single cut
        ([0.0, 2.0], 3),  # too short
    ],
)
def test_text_without_two_cuts_has_none(activations: list[float], length: int) -> None:
    peak = peak_of(activations)
    assert all(marked_cuts(activations, peak, length, seed) is None for seed in range(20))


def test_runs_of_active_tokens_are_marked_as_runs() -> None:
    activations = [0.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0]
    cuts = {marked_cuts(activations, 4, 5, seed) for seed in range(40)}
    assert MarkedCuts(1, 3, (2, 3)) in cuts
    assert MarkedCuts(3, 1, (0, 1)) in cuts
    assert MarkedCuts(2, 3, (1, 2)) not in cuts, "an active token would be marked as a wrong one"
