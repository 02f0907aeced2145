"""The linear observer: against plain loops, on planted diffs, and where there is nothing to see."""

from itertools import product
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.methods.output_ceiling import Ceiling, observed_win_rate, output_ceiling


def drawn(seed, num_others=6, num_sets=3, width=4, lacking=0.2, signal=1.0):
    """Changes, and set sums that lean towards the change of the latent that they are of."""
    generator = torch.Generator().manual_seed(seed)
    changes_XD = torch.randn(1 + num_others, width, generator=generator)
    noise = torch.randn(1 + num_others, num_sets, width, generator=generator)
    sums_XSD = signal * changes_XD[:, None] + noise
    has_KS = torch.rand(num_others, num_sets, generator=generator) >= lacking
    return changes_XD[0], sums_XSD[0], changes_XD[1:], sums_XSD[1:], has_KS


def slow_win_rate(who, changes, sums, has, excluded):
    """By loops over dictionaries: the diff of `who` against strangers', on the sets of latent 0."""
    wins = []
    for partner, text_set, stranger in product(changes, sums[0], changes):
        if len({0, partner, stranger, *excluded}) < 3 + len(set(excluded) - {0}):
            continue
        if not has.get((partner, text_set)):
            continue

        def says(latent, partner=partner, text_set=text_set):
            shown = zip(changes[latent], sums[0][text_set], sums[partner][text_set], strict=True)
            return sum(change * (own - other) for change, own, other in shown)

        own, other = says(who), says(stranger)
        wins.append(1.0 if own > other else 0.5 if own == other else 0.0)
    return fmean(wins) if wins else None


def slow_ceiling(own_D, own_SD, others_KD, others_KSD, has_KS):
    changes = dict(enumerate([own_D.tolist(), *others_KD.tolist()]))
    sums = {
        latent: dict(enumerate(rows))
        for latent, rows in enumerate([own_SD.tolist(), *others_KSD.tolist()])
    }
    has = {(k + 1, s): bool(has_KS[k, s]) for k in range(len(has_KS)) for s in sums[0]}
    null = [slow_win_rate(m, changes, sums, has, [m]) for m in changes if m != 0]
    rates = [rate for rate in null if rate is not None]
    return (
        slow_win_rate(0, changes, sums, has, []),
        float(np.quantile(rates, 0.95)) if rates else None,
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3), st.sampled_from([0.0, 0.5]))
def test_ceiling_and_its_null_are_those_of_plain_loops(seed, num_others, num_sets, lacking):
    made = drawn(seed, num_others, num_sets, lacking=lacking)
    found, (win_rate, null_quantile) = output_ceiling(*made), slow_ceiling(*made)
    assert found.win_rate == pytest.approx(win_rate)
    assert found.null_quantile == pytest.approx(null_quantile)
    assert observed_win_rate(*made) == found.win_rate


def test_latent_whose_text_says_what_it_does_is_above_the_null_and_chance_is_below():
    for seed in range(5):
        strong = output_ceiling(*drawn(seed, num_others=40, num_sets=4, width=32, signal=3.0))
        assert strong.win_rate > 0.95 and not strong.is_at_chance
    blind = [
        output_ceiling(*drawn(seed, num_others=40, num_sets=4, width=32, signal=0.0))
        for seed in range(60)
    ]
    assert fmean(found.win_rate for found in blind) == pytest.approx(0.5, abs=0.08)
    assert fmean(found.is_at_chance for found in blind) > 0.85, "5 % pass a null of 95 %"


@given(st.integers(0, 1000))
def test_what_is_common_to_all_diffs_changes_nothing(seed):
    own_D, own_SD, others_KD, others_KSD, has_KS = drawn(seed)
    common_D = torch.full_like(own_D, 3.0)
    shifted = output_ceiling(own_D + common_D, own_SD, others_KD + common_D, others_KSD, has_KS)
    plain = output_ceiling(own_D, own_SD, others_KD, others_KSD, has_KS)
    assert shifted.win_rate == pytest.approx(plain.win_rate, abs=1e-9)
    assert shifted.null_quantile == pytest.approx(plain.null_quantile, abs=1e-9)


def test_equal_texts_are_ties():
    own_D, own_SD, others_KD, _, has_KS = drawn(0, lacking=0.0)
    same_KSD = own_SD.expand(len(others_KD), *own_SD.shape)
    assert output_ceiling(own_D, own_SD, others_KD, same_KSD, has_KS) == Ceiling(0.5, 0.5)


@pytest.mark.parametrize(("num_others", "has_rate", "has_null"), [(1, 0, 0), (2, 1, 0), (3, 1, 1)])
def test_panel_too_small_has_no_ceiling_or_no_null_and_no_verdict(num_others, has_rate, has_null):
    found = output_ceiling(*drawn(1, num_others=num_others, lacking=0.0))
    assert (found.win_rate is not None) == has_rate
    assert (found.null_quantile is not None) == has_null
    assert has_null or not found.is_at_chance


def test_verdict_is_strict():
    assert not Ceiling(1.0, 1.0).is_at_chance
    assert Ceiling(0.6, 0.61).is_at_chance and not Ceiling(0.6, None).is_at_chance
