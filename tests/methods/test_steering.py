"""The KL search on planted curves: monotone, bent, jumping, flat and broken."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.methods.steering import Curve, KLSearch, start_activations


def search(curves, kl_targets, kl_of, rule=None):
    """Run a search to its end; returns the outcomes and everything that was asked, by round."""
    machine = KLSearch(curves, kl_targets, rule)
    rounds = []
    for _ in range(200):
        asked = machine.next_values()
        if not len(asked.curves_N):
            return machine.result(), rounds
        pairs = list(zip(asked.curves_N.tolist(), asked.clamp_values_N.tolist(), strict=True))
        rounds.append(pairs)
        machine.observe([kl_of(curves[curve], value) for curve, value in pairs])
    raise AssertionError("the search does not end")


def quadratic(curve, value):
    return (value / curve.start_activation) ** 2 / (4 + curve.latent)


def bent(curve, value):
    """Rises, falls below 0.5 again and rises for good, as steering beyond the range does."""
    x = abs(value) / curve.start_activation
    return 0.6 * x * math.exp(1 - x) + 0.02 * x**2


def test_search_smooth_curve_lands_within_five_per_cent_of_each_target():
    curves = [Curve(latent, sign, 3.0) for latent in range(5) for sign in (1, -1)]
    outcomes, _ = search(curves, [0.25, 0.5], quadratic)
    assert [(o.latent, o.sign, o.kl_target) for o in outcomes] == [
        (curve.latent, curve.sign, target) for curve in curves for target in (0.25, 0.5)
    ]
    for outcome in outcomes:
        assert outcome.is_reached
        assert abs(outcome.kl_reached - outcome.kl_target) <= 0.05 * outcome.kl_target
        exact = 3.0 * math.sqrt(outcome.kl_target * (4 + outcome.latent))
        assert outcome.clamp_value == pytest.approx(outcome.sign * exact, rel=0.026)


@settings(max_examples=60)
@given(
    heights=st.lists(st.floats(0.01, 3), min_size=3, max_size=3),
    waves=st.lists(st.floats(0.2, 6), min_size=3, max_size=3),
    targets=st.lists(st.floats(0.05, 1.5), min_size=1, max_size=3, unique=True),
)
def test_search_any_continuous_curve_reports_the_kl_at_the_value_it_gives(heights, waves, targets):
    def kl_of(_curve, value):
        x = abs(value)
        return sum(
            height * (1 - math.cos(wave * x)) / 2
            for height, wave in zip(heights, waves, strict=True)
        )

    curve = Curve(0, 1, 1.0)
    outcomes, rounds = search([curve], targets, kl_of)
    asked = [kl_of(curve, value) for each in rounds for _, value in each]
    for outcome in outcomes:
        if outcome.is_reached:
            assert outcome.kl_reached == kl_of(curve, outcome.clamp_value)
            assert abs(outcome.kl_reached - outcome.kl_target) <= 0.05 * outcome.kl_target
        else:
            assert outcome.clamp_value is None
            assert outcome.kl_reached == max(asked) < outcome.kl_target


def test_search_bent_curve_finds_the_smallest_value():
    """bent() meets 0.5 near 0.55, 1.6 and 4.5 times the start."""
    [outcome], _ = search([Curve(0, 1, 2.0)], [0.5], bent)
    assert outcome.is_reached and 0.5 < outcome.clamp_value / 2.0 < 0.6


def test_search_target_out_of_reach_says_the_largest_kl_and_tried_the_ceiling():
    def flat(_curve, value):
        return 0.2 * abs(value) / (1 + abs(value))

    outcomes, rounds = search([Curve(7, -1, 0.5)], [0.1, 0.4], flat)
    reached, missed = outcomes
    assert reached.is_reached and not missed.is_reached
    assert missed.clamp_value is None
    assert missed.kl_reached == flat(None, 10.0)
    assert min(value for each in rounds for _, value in each) == -10.0


def test_search_steep_curve_is_bisected_below_its_first_value():
    [outcome], _ = search([Curve(0, 1, 1.0)], [0.5], lambda _curve, value: 1e4 * value**2)
    assert outcome.clamp_value == pytest.approx(math.sqrt(0.5e-4), rel=0.03)


def test_search_jump_over_the_band_is_flagged_not_silent():
    [outcome], _ = search([Curve(0, 1, 1.0)], [0.5], lambda _curve, value: 0.1 + 2 * (value > 1))
    assert not outcome.is_reached and outcome.clamp_value is None and outcome.kl_reached == 2.1


def test_search_overflow_counts_as_too_far():
    def breaking(_curve, value):
        return value**2 if value < 1 else math.nan

    [outcome], _ = search([Curve(0, 1, 1.0)], [0.9], breaking)
    assert outcome.is_reached and outcome.clamp_value < 1
    [outcome], _ = search([Curve(0, 1, 1.0)], [5.0], breaking)
    assert not outcome.is_reached and outcome.kl_reached < 1
    [outcome], _ = search([Curve(0, 1, 1.0)], [5.0], lambda _curve, _value: math.inf)
    assert not outcome.is_reached and outcome.kl_reached is None


def test_search_path_climbs_by_one_and_a_half_from_a_tenth_of_the_start():
    _, rounds = search([Curve(0, 1, 10.0)], [1e9], lambda _curve, value: value)
    values = [value for each in rounds for _, value in each]
    assert values[:4] == pytest.approx([1.0, 1.5, 2.25, 3.375])
    assert values[-1] == 200.0 and len(values) == 15


def test_search_bisects_between_the_last_two_values_of_the_path():
    _, rounds = search([Curve(0, 1, 1.0)], [0.5], quadratic)
    values = [value for each in rounds for _, value in each]
    turn = next(i for i in range(1, len(values)) if values[i] < values[i - 1])
    below, above = values[turn - 2], values[turn - 1]
    assert values[turn] == (below + above) / 2
    assert all(below < value < above for value in values[turn:])


def test_search_a_value_wanted_for_two_targets_is_asked_once():
    outcomes, rounds = search([Curve(0, 1, 1.0)], [0.44, 0.5], quadratic)
    assert all(len(each) == len(set(each)) for each in rounds)
    assert all(outcome.is_reached for outcome in outcomes)


def test_search_targets_of_a_curve_share_one_path():
    curve = Curve(0, 1, 1.0)
    _, together = search([curve], [0.25, 0.5], quadratic)
    asked = [value for each in together for _, value in each]
    assert len(asked) == len(set(asked))
    alone = [search([curve], [target], quadratic)[1] for target in (0.25, 0.5)]
    apart = {value for rounds in alone for each in rounds for _, value in each}
    assert set(asked) == apart
    assert len(asked) < sum(len(each) for rounds in alone for each in rounds)
    assert len(together) == max(len(rounds) for rounds in alone)


@settings(max_examples=30)
@given(order=st.permutations(range(6)), size=st.integers(1, 6))
def test_search_outcome_does_not_depend_on_what_else_is_searched(order, size):
    curves = [Curve(latent, 1 - 2 * (latent % 2), 0.5 + latent) for latent in range(6)]
    alone = {curve.latent: search([curve], [0.25, 0.5], bent)[0] for curve in curves}
    chosen = [curves[i] for i in order[:size]]
    together, _ = search(chosen, [0.25, 0.5], bent)
    assert together == [outcome for curve in chosen for outcome in alone[curve.latent]]


def test_search_no_curves_is_over_at_once():
    assert search([], [0.25], quadratic) == ([], [])


def test_start_activations_silent_latents_start_from_the_median_of_the_others():
    starts = start_activations(np.array([2.0, 0.0, 4.0, 10.0, 0.0], np.float32))
    assert starts.tolist() == [2.0, 4.0, 4.0, 10.0, 4.0]
    assert start_activations(np.zeros(2, np.float32)).tolist() == [1.0, 1.0]
