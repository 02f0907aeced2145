"""The two-set score: judges that read, judges that are biased, and judges that leak."""

import math
from hashlib import blake2b
from statistics import fmean

import pytest
from chance import is_at_chance
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.intervals import wilson_interval
from ray_autointerp.methods.output_score import (
    ChoiceLogprobs,
    TwoSetTrial,
    is_unequal_treatment,
    output_score,
    pooled_win_rate,
    three_set_success,
    two_set_log_odds,
)
from ray_autointerp.methods.panel_draw import Unit, draw_opponents
from ray_autointerp.methods.word_overlap import word_overlap_log_odds, words

PANEL = range(64)
UNITS = [Unit(text_set, 1, 1.0) for text_set in range(24)]


def hash_noise(*parts):
    """A number in (-1, 1) that depends on what the judge reads and on nothing else."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1


def text_of(latent, unit):
    """Steered text: the latent's word, more of it for some latents, and chatter of the prompt."""
    topic = f"word{latent} " * (1 + latent % 5)
    return f"{topic}prompt{unit.text_set}"


def logprobs(log_odds):
    """Two answers whose probabilities sum to one."""
    return ChoiceLogprobs(-math.log1p(math.exp(-log_odds)), -math.log1p(math.exp(log_odds)))


def reading_judge(description, first, second):
    noise = hash_noise(description, first, second)
    return logprobs(3 * word_overlap_log_odds(description, [first], [second]) + noise)


def consistency_judge(_description, first, second):
    """Picks the set that repeats itself most, whatever the description says."""

    def consistency(text):
        return len(text.split()) / len(words(text))

    return logprobs(20 * (consistency(first) - consistency(second)))


def noisy_consistency_judge(description, first, second):
    certain = consistency_judge(description, first, second).log_odds
    return logprobs(certain + hash_noise(description, first, second))


def trials_of(judge, described, latents=PANEL):
    """All units of some latents; `described` maps a latent to its description."""
    trials = []
    for latent in latents:
        for unit in UNITS:
            drawn = draw_opponents(latent, unit, PANEL, PANEL, seed=0)
            mine, other = text_of(latent, unit), text_of(drawn.partner, unit)
            log_odds = [
                two_set_log_odds(judge(description, mine, other), judge(description, other, mine))
                for description in (described(latent), described(drawn.stranger))
            ]
            trials.append(TwoSetTrial(unit.text_set, *log_odds))
    return trials


def true_description(latent):
    return f"about word{latent}"


def shuffled_description(latent):
    return true_description((latent * 37 + 11) % 64)


def test_true_descriptions_win_and_shuffled_ones_are_at_chance_over_a_thousand_trials():
    true = output_score(trials_of(reading_judge, true_description))
    shuffled = output_score(trials_of(reading_judge, shuffled_description))
    assert true.num_units == shuffled.num_units == 1536
    assert true.win_rate > 0.95 and true.mean_lift > 2 and true.share_right > 0.95
    assert is_at_chance(shuffled.win_rate, 1536)


def test_judge_of_noise_is_at_chance():
    def judge(description, first, second):
        return logprobs(5 * hash_noise(description, first, second))

    score = output_score(trials_of(judge, true_description))
    assert is_at_chance(score.win_rate, score.num_units)


def test_judge_that_picks_the_most_consistent_set_scores_at_chance():
    """Where the plain count of right answers is far off, latent by latent."""
    score = output_score(trials_of(consistency_judge, true_description))
    assert score.win_rate == 0.5 and score.mean_lift == 0
    noisy = output_score(trials_of(noisy_consistency_judge, true_description))
    assert is_at_chance(noisy.win_rate, noisy.num_units)
    by_latent = [
        output_score(trials_of(noisy_consistency_judge, true_description, [latent])).share_right
        for latent in PANEL
    ]
    assert fmean(abs(share - 0.5) > 0.25 for share in by_latent) > 0.4


@given(bias=st.floats(-8, 8), log_odds=st.floats(-8, 8))
def test_log_odds_judge_with_an_order_bias_cancels_it(bias, log_odds):
    first, second = logprobs(log_odds + bias), logprobs(-log_odds + bias)
    assert two_set_log_odds(first, second) == pytest.approx(log_odds, abs=1e-6)


def test_log_odds_sure_judge_stays_finite_and_an_undecided_one_is_zero():
    sure, unsure = ChoiceLogprobs(0.0, -math.inf), ChoiceLogprobs(-math.inf, -math.inf)
    assert two_set_log_odds(sure, ChoiceLogprobs(-math.inf, 0.0)) == 50.0
    assert two_set_log_odds(sure, sure) == 0.0
    assert unsure.log_odds == 0.0


@given(
    log_odds=st.lists(
        st.tuples(st.sampled_from([-2.0, -1.0, 0.0, 1.5]), st.sampled_from([-2.0, 0.0, 1.5])),
        min_size=1,
        max_size=20,
    )
)
def test_score_is_the_share_of_units_in_which_the_own_description_says_more(log_odds):
    trials = [TwoSetTrial(unit, own, other) for unit, (own, other) in enumerate(log_odds)]
    score = output_score(trials)
    wins = [1.0 if own > other else 0.5 if own == other else 0.0 for own, other in log_odds]
    right = [1.0 if own > 0 else 0.5 if own == 0 else 0.0 for own, _ in log_odds]
    assert score.win_rate == pytest.approx(sum(wins) / len(wins))
    assert score.share_right == pytest.approx(sum(right) / len(right))
    assert score.mean_lift == pytest.approx(sum(a - b for a, b in log_odds) / len(log_odds))
    swapped = output_score(
        [TwoSetTrial(t.text_set, t.log_odds_stranger, t.log_odds) for t in trials]
    )
    assert score.win_rate + swapped.win_rate == pytest.approx(1)


def test_score_units_of_one_text_set_do_not_narrow_the_interval():
    once = output_score([TwoSetTrial(text_set, 1.0, 0.0) for text_set in range(6)])
    four_times = output_score([TwoSetTrial(text_set, 1.0, 0.0) for text_set in range(6)] * 4)
    assert once.win_interval == four_times.win_interval == wilson_interval(1.0, 6)
    assert four_times.num_units == 24


def test_score_no_units_is_null():
    score = output_score([])
    assert score.win_rate is score.win_interval is score.mean_lift is score.share_right is None
    assert score.num_units == 0


@pytest.mark.parametrize(
    ("logprob_of_sets", "success"),
    [
        ([-0.1, -3.0, -4.0], 1.0),
        ([-3.0, -0.1, -4.0], 0.0),
        ([-0.7, -0.7, -5.0], 0.5),
        ([-1.1, -1.1, -1.1], 1 / 3),
        ([-1.1, -0.9, -0.9], 0.0),
        ([-math.inf, 0.0, -math.inf], 0.0),
    ],
)
def test_three_set_choice_shares_ties_for_the_first_place(logprob_of_sets, success):
    assert three_set_success(logprob_of_sets, target=0) == success


def test_three_set_undecided_judge_is_at_a_third_wherever_the_target_stands():
    assert fmean(three_set_success([-1.0] * 3, target) for target in range(3)) == 1 / 3


@pytest.mark.parametrize(
    ("kls_reached", "is_unequal"),
    [
        ([0.5, 0.5], False),
        ([0.5, 0.25], True),
        ([0.25, 0.5], True),
        ([0.5, 0.5, 0.5, 0.25], True),
        ([0.525, 0.475, 0.5], False),
        ([0.5, 0.53], True),
        ([0.5, 0.0], True),
        ([0.5, math.nan], True),
    ],
)
def test_treatment_text_made_at_half_the_kl_is_flagged_and_equal_treatment_is_not(
    kls_reached, is_unequal
):
    assert is_unequal_treatment(0.5, kls_reached) == is_unequal


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=9), max_size=3))
def test_pooled_win_rate_is_that_of_all_trials_together(scores: list[list[float]]) -> None:
    pooled = pooled_win_rate((fmean(wins), len(wins)) for wins in scores)
    wins = [win for score in scores for win in score]
    if not wins:
        assert pooled is None
        return
    assert pooled is not None
    assert pooled[0] == pytest.approx(fmean(wins))
    expected = wilson_interval(fmean(wins), len(wins))
    assert pooled[1].low == pytest.approx(expected.low, abs=1e-12)
    assert pooled[1].high == pytest.approx(expected.high, abs=1e-12)
