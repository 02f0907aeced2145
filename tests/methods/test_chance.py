"""Verdicts on forced choices: how often they are wrong, on simulated latents."""

import numpy as np
import pytest

from ray_autointerp.methods.chance import ChanceTest, chance_test

TRIALS = 12


def simulated(
    seed: int, num_latents: int, rate: float, spread: float = 0.0, num_tests: int = 1
) -> ChanceTest:
    """Latents whose own rates lie `spread` to either side of the whole's."""
    draw = np.random.default_rng(seed)
    own = rate + spread * draw.choice([-1, 1], num_latents)
    rates = draw.binomial(TRIALS, own) / TRIALS
    return chance_test(rates.tolist(), TRIALS * num_latents, num_tests)


def share(verdict: str, *simulation: float) -> float:
    num_latents, *rest = simulation
    made = [simulated(seed, int(num_latents), *rest) for seed in range(400)]
    return sum(test.verdict == verdict for test in made) / len(made)


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_fair_choice_is_seldom_called_off_chance(spread: float) -> None:
    """Also where the trials of a latent fall together, which trials alone would not forgive."""
    assert share("off chance", 30, 0.5, spread) < 0.08


def test_fair_run_of_many_tests_is_seldom_marked() -> None:
    """Without the correction two of three such runs would be (1 - 0.95 ** 20)."""
    draw = np.random.default_rng(0)
    num_tests, marked = 20, 0
    for _ in range(100):
        rates = draw.binomial(TRIALS, 0.5, (num_tests, 60)) / TRIALS
        made = [chance_test(own.tolist(), TRIALS * 60, num_tests) for own in rates]
        marked += any(test.verdict == "off chance" for test in made)
    assert marked < 12


def test_leak_is_found_among_many_tests() -> None:
    found = [simulated(seed, 60, 0.65, num_tests=20).verdict for seed in range(100)]
    assert found.count("off chance") > 95


def test_enough_fair_trials_are_at_chance() -> None:
    """About 1,080 independent trials show it in nine cases of ten (methods 16)."""
    assert share("at chance", 90, 0.5) > 0.85
    assert share("at chance", 10, 0.5) < 0.05
    assert share("too few trials to tell", 10, 0.5) > 0.9


def test_edge_of_the_margin_is_seldom_at_chance() -> None:
    assert share("at chance", 90, 0.55) < 0.08


def test_leak_is_off_chance() -> None:
    assert share("off chance", 60, 0.65) > 0.95
    assert share("off chance", 60, 0.35) > 0.95


def test_shown_to_be_near_enough_is_at_chance_though_not_a_half() -> None:
    made = chance_test([0.52, 0.53] * 10_000, 240_000)
    assert made.interval is not None and made.interval.low > 0.5
    assert made.verdict == "at chance"


def test_latents_that_agree_by_accident_are_no_proof() -> None:
    assert chance_test([0.5] * 4, 8).verdict == "too few trials to tell"
    assert chance_test([1.0] * 2, 2).verdict == "too few trials to tell"


def test_interval_of_a_share_ends_at_0_and_1() -> None:
    for rates in ([1.0, 0.2, 1.0, 0.9], [0.0, 0.8, 0.0, 0.1]):
        made = chance_test(rates, 40)
        assert made.interval is not None
        assert 0 <= made.interval.low < made.interval.high <= 1


def test_fewer_than_two_latents_say_nothing() -> None:
    assert chance_test([], 0) == ChanceTest(0, 0, None, None, "too few trials to tell")
    assert chance_test([1.0], 5_000).verdict == "too few trials to tell"
