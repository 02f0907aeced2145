"""The label's choice against least squares, known reliabilities, and what choosing must gain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ray_autointerp.methods.choice import choose, estimates, pooled

NAN = float("nan")
NOTHING = (0.0, 0.0, 0.0)


def simulated(seed, noise, num_latents=400, num_methods=5, particular=0.1):
    """True scores, and half scores of trials with that noise; one method is best in the mean."""
    draw = np.random.default_rng(seed)
    latent_L1 = draw.normal(0, 0.1, (num_latents, 1))
    method_M = np.linspace(0.5, 0.6, num_methods)
    true_LM = latent_L1 + method_M + draw.normal(0, particular, (num_latents, num_methods))
    return true_LM, true_LM + draw.normal(0, noise, (2, num_latents, num_methods))


def least_squares(scores_LM):
    """latent + method, by lstsq on the cells that are there."""
    num_latents, num_methods = scores_LM.shape
    cells = [(i, m) for i in range(num_latents) for m in range(num_methods)]
    cells = [cell for cell in cells if not np.isnan(scores_LM[cell])]
    design = np.zeros((len(cells), num_latents + num_methods))
    for row, (i, m) in enumerate(cells):
        design[row, i] = design[row, num_latents + m] = 1
    solution = np.linalg.lstsq(design, np.array([scores_LM[c] for c in cells]), rcond=None)[0]
    fitted_LM = np.full(scores_LM.shape, np.nan)
    for row, cell in enumerate(cells):
        fitted_LM[cell] = design[row] @ solution
    return fitted_LM


@given(seed=st.integers(0, 1000), missing=st.floats(0, 0.4), lead=st.floats(-1, 2))
def test_estimate_is_the_additive_fit_less_unsure_leads_and_a_share_of_the_rest(
    seed, missing, lead
):
    draw = np.random.default_rng(seed)
    halves = draw.uniform(0, 1, (2, 7, 4))
    halves[..., 2] += lead
    halves[:, draw.uniform(size=(7, 4)) < missing] = NAN
    made = estimates(halves, reference=1)
    scores = halves.mean(0)
    fitted = least_squares(scores)
    if np.isnan(scores).all(0).any() or np.isnan(scores).all(1).any():
        return
    complete = [latent for latent in range(7) if not np.isnan(scores[latent]).any()]
    if not complete:
        return
    effects = fitted[complete[0]]  # and the latent's, the same for every method
    sure = np.zeros(4)
    for method in (0, 2, 3):
        leads = (scores[:, method] - scores[:, 1])[~np.isnan(scores[:, [1, method]]).any(1)]
        if len(leads) > 1:
            low = stats.ttest_1samp(leads, 0).confidence_interval(1 - 0.05 / 3).low
            sure[method] = max(low, 0)
    change = np.minimum(effects, effects[1]) + sure - effects
    expected = fitted + change + made.reliability * (scores - fitted)
    np.testing.assert_allclose(made.expected_LM, expected, atol=1e-6)
    assert 0 <= made.reliability <= 1


@pytest.mark.parametrize("num_latents", [12, 100])
def test_trials_that_say_nothing_choose_the_reference(num_latents):
    """However the draw fell: labels of noise are keywords, nearly always."""
    chosen = []
    for seed in range(40):
        halves = np.random.default_rng(seed).uniform(0, 1, (2, num_latents, 4))
        made = estimates(halves, reference=0)
        winners = [choose(row, range(4), 0, made.needed_M).winner for row in made.expected_LM]
        chosen.append(np.mean(np.equal(winners, 0)))
    assert np.mean(chosen) > 0.97


@pytest.mark.parametrize(("noise", "reliability"), [(0.0, 1.0), (0.1, 2 / 3), (0.3, 2 / 11)])
def test_reliability_is_the_share_of_variance_that_is_not_noise(noise, reliability):
    _, halves = simulated(0, noise, num_latents=30_000)
    assert estimates(halves, 0).reliability == pytest.approx(reliability, abs=0.04)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1, 0.3])
def test_needed_lead_is_what_expected_leads_miss_the_true_ones_by_or_nothing(noise):
    true, halves = simulated(0, noise, num_latents=30_000)
    made = estimates(halves, 0)
    particular, expected = (
        one - one.mean(1, keepdims=True) - one.mean(0) + one.mean()
        for one in (true, made.expected_LM)
    )
    missed = np.diff(particular - expected, axis=1)
    needed = made.needed_M
    assert needed[0] == pytest.approx(missed.std(), rel=0.08, abs=1e-6)
    assert list(needed[1:]) == [0, 0, 0, 0], "all surely lead the first"


def test_reliability_without_anything_to_measure_it_by_is_zero():
    assert estimates(np.full((2, 3, 2), NAN), 0).reliability == 0
    assert estimates(np.full((2, 3, 2), 0.5), 0).reliability == 0
    one_half = np.stack([np.eye(3), np.full((3, 3), NAN)])
    made = estimates(one_half, 0)
    assert made.reliability == 0 and not np.isnan(made.expected_LM).any()


@pytest.mark.parametrize("first", [None, 0])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2, 0.5])
def test_choice_is_no_worse_than_the_best_method_and_better_where_trials_can_tell(noise, first):
    gains = []
    for seed in range(10):
        true, halves = simulated(seed, noise)
        made = estimates(halves, 0)
        rows = made.expected_LM
        winners = [choose(row, range(5), first, made.needed_M).winner for row in rows]
        gains.append(true[np.arange(len(true)), winners].mean() - true.mean(0).max())
    assert np.mean(gains) > -0.005
    if noise <= 0.2:
        assert np.mean(gains) > 0.03
    unshrunk = [int(row.argmax()) for row in halves.mean(0)]
    if noise == 0.5:  # the check would be void if choosing by the trials alone were as good
        assert true[np.arange(len(true)), unshrunk].mean() - true.mean(0).max() < -0.01


@given(seed=st.integers(0, 1000), missing=st.floats(0, 1))
def test_pooled_scores_are_means_of_scores_that_were_set_to_one_mean(seed, missing):
    draw = np.random.default_rng(seed)
    scores = draw.uniform(0, 1, (3, 2, 5, 4)) + np.arange(3).reshape(3, 1, 1, 1)
    scores[draw.uniform(size=scores.shape) < missing] = NAN
    made = pooled(list(scores))
    known = [one for one in scores if not np.isnan(one).all()]
    level = np.mean([np.nanmean(one) for one in known]) if known else NAN
    for cell in np.ndindex(made.shape):
        found = [one[cell] - np.nanmean(one) + level for one in known if not np.isnan(one[cell])]
        expected = sum(found) / len(found) if found else NAN
        np.testing.assert_allclose(made[cell], expected, atol=1e-12)


def test_description_without_the_harder_trials_gains_nothing_by_it():
    """Both are as good as each other where both have trials; outputs are harder than inputs."""
    inputs = np.full((2, 4, 2), 0.9)
    outputs = np.full((2, 4, 2), 0.6)
    outputs[:, :2, 0] = NAN
    assert np.ptp(pooled([inputs, outputs])) < 1e-12


def test_winner_runner_up_and_margin():
    chosen = choose([0.5, 0.7, 0.6], [0, 1, 2], 0, NOTHING)
    assert (chosen.winner, chosen.runner_up) == (1, 2)
    assert chosen.margin == pytest.approx(0.1)
    assert choose([0.5], [0], 0, NOTHING).margin is None


@pytest.mark.parametrize(
    ("needed", "winner", "runner_up", "margin"),
    [((0, 0.15, 0.15), 1, 2, 0.1), ((0, 0.25, 0.25), 0, 1, -0.2), ((0, 0.25, 0), 2, 1, -0.1)],
)
def test_keywords_stay_unless_another_leads_by_what_it_needs(needed, winner, runner_up, margin):
    chosen = choose([0.5, 0.7, 0.6], [0, 1, 2], 0, needed)
    assert (chosen.winner, chosen.runner_up) == (winner, runner_up)
    assert chosen.margin == pytest.approx(margin)


@pytest.mark.parametrize(
    ("expected", "candidates", "winner"),
    [
        ([0.6, 0.6, 0.6], [0, 1, 2], 2),  # equal: the keywords
        ([0.6, 0.6, 0.5], [0, 1, 2], 0),  # equal: the order
        ([0.9, 0.6, 0.5], [1, 2], 1),  # what is no description cannot win
        ([NAN, 0.1, NAN], [0, 1, 2], 1),  # trials before none
        ([NAN, NAN, NAN], [0, 1, 2], 0),  # no trials: the order, keywords like any other
    ],
)
def test_ties_and_missing_trials(expected, candidates, winner):
    assert choose(expected, candidates, 2, NOTHING).winner == winner
