"""Top examples against a slow loop, and the algebra of merging."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.errors import TaskError
from ray_autointerp.methods.max_act import (
    ActiveEntries,
    ExampleSieve,
    active_entries,
)
from ray_autointerp.methods.top_examples import TopExamples, merge_examples

NUM_LATENTS = 4
NUM_POSITIONS = 5


def random_acts(seed, num_windows, num_levels=3):
    """Activations with many zeros and many ties: whole numbers below `num_levels`."""
    draws = torch.Generator().manual_seed(seed)
    shape = (num_windows, NUM_POSITIONS, NUM_LATENTS)
    return torch.randint(0, num_levels, shape, generator=draws).float()


def sieve_of(windows, acts_WTL, is_score_W, num_kept, mask_WT=None, batch=3, max_buffered=10):
    sieve = ExampleSieve(NUM_LATENTS, num_kept, max_buffered)
    mask_WT = torch.ones(acts_WTL.shape[:2], dtype=torch.bool) if mask_WT is None else mask_WT
    for start in range(0, len(windows), batch):
        part = slice(start, start + batch)
        sieve.add(
            windows[part],
            is_score_W[part],
            mask_WT[part].sum(1),
            active_entries(acts_WTL[part], mask_WT[part]),
        )
    return sieve


def slow_examples(windows, acts_WTL, is_score_W, num_kept, mask_WT):
    """The definition, in plain loops: one tuple per example, in the promised order."""
    found = []
    for latent in range(acts_WTL.shape[2]):
        for side in (False, True):
            candidates = []
            for row, window in enumerate(windows.tolist()):
                values = [
                    float(acts_WTL[row, t, latent]) if mask_WT[row, t] else 0.0
                    for t in range(acts_WTL.shape[1])
                ]
                if bool(is_score_W[row]) == side and max(values) > 0:
                    nonzeros = [(t, v) for t, v in enumerate(values) if v > 0]
                    peak = values.index(max(values))
                    candidates.append((-max(values), window, peak, nonzeros))
            for activation, window, peak, nonzeros in sorted(candidates)[:num_kept]:
                found.append((latent, side, window, peak, -activation, nonzeros))
    return found


def as_tuples(examples: TopExamples):
    rows = []
    for e in range(len(examples.latents_E)):
        part = slice(examples.offsets_E1[e], examples.offsets_E1[e + 1])
        nonzeros = zip(
            examples.positions_N[part].tolist(), examples.values_N[part].tolist(), strict=True
        )
        rows.append(
            (
                int(examples.latents_E[e]),
                bool(examples.is_score_E[e]),
                int(examples.windows_E[e]),
                int(examples.peaks_E[e]),
                float(examples.activations_E[e]),
                list(nonzeros),
            )
        )
    return rows


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    num_windows=st.integers(0, 14),
    num_kept=st.integers(1, 4),
    batch=st.integers(1, 6),
    max_buffered=st.sampled_from([0, 10, 1000]),
)
def test_sieve_any_stream_keeps_what_the_definition_keeps(
    seed, num_windows, num_kept, batch, max_buffered
):
    draws = np.random.default_rng(seed)
    acts_WTL = random_acts(seed, num_windows)
    windows = torch.from_numpy(draws.permutation(100)[:num_windows])
    is_score_W = torch.from_numpy(draws.random(num_windows) < 0.5)
    mask_WT = torch.from_numpy(draws.random((num_windows, NUM_POSITIONS)) < 0.8)
    sieve = sieve_of(windows, acts_WTL, is_score_W, num_kept, mask_WT, batch, max_buffered)
    expected = slow_examples(windows, acts_WTL, is_score_W, num_kept, mask_WT)
    assert as_tuples(sieve.examples()) == expected


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    num_kept=st.integers(1, 4),
    owner=st.lists(st.integers(0, 2), min_size=12, max_size=12),
)
def test_merge_any_sharding_order_and_grouping_gives_the_same_examples(seed, num_kept, owner):
    acts_WTL = random_acts(seed, 12)
    windows = torch.arange(12) * 7
    is_score_W = windows % 2 == 0
    owners = torch.tensor(owner)
    a, b, c = (
        sieve_of(
            windows[owners == shard],
            acts_WTL[owners == shard],
            is_score_W[owners == shard],
            num_kept,
        ).examples()
        for shard in range(3)
    )
    whole = as_tuples(sieve_of(windows, acts_WTL, is_score_W, num_kept).examples())
    assert as_tuples(merge_examples([a, b, c], num_kept)) == whole
    assert as_tuples(merge_examples([c, a, b], num_kept)) == whole
    left = merge_examples([merge_examples([a, b], num_kept), c], num_kept)
    right = merge_examples([a, merge_examples([b, c], num_kept)], num_kept)
    assert as_tuples(left) == as_tuples(right) == whole


def test_sieve_planted_token_is_the_peak_of_every_example():
    acts_WTL = torch.zeros(6, NUM_POSITIONS, NUM_LATENTS)
    acts_WTL[4, 3, 2], acts_WTL[1, 0, 2], acts_WTL[1, 2, 2] = 9.0, 5.0, 5.0
    sieve = sieve_of(torch.arange(6) + 100, acts_WTL, torch.zeros(6, dtype=torch.bool), 10)
    assert as_tuples(sieve.examples()) == [
        (2, False, 104, 3, 9.0, [(3, 9.0)]),
        (2, False, 101, 0, 5.0, [(0, 5.0), (2, 5.0)]),
    ]


def test_sieve_equal_peaks_keep_the_smaller_window_whenever_it_comes():
    acts_WTL = torch.ones(4, NUM_POSITIONS, NUM_LATENTS)
    windows = torch.tensor([9, 3, 7, 1])
    is_score_W = torch.zeros(4, dtype=torch.bool)
    sieve = sieve_of(windows, acts_WTL, is_score_W, 2, batch=1, max_buffered=0)
    kept = sieve.examples()
    assert kept.windows_E[kept.latents_E == 0].tolist() == [1, 3]


def test_sieve_firing_stats_equal_dense_counts():
    acts_WTL = random_acts(5, 20, num_levels=6) / 8
    is_score_W = torch.arange(20) % 3 == 0
    mask_WT = torch.rand(20, NUM_POSITIONS, generator=torch.Generator().manual_seed(1)) < 0.7
    stats = sieve_of(torch.arange(20), acts_WTL, is_score_W, 2, mask_WT).firing_stats()
    for side, rows in enumerate((~is_score_W, is_score_W)):
        seen_NL = acts_WTL[rows][mask_WT[rows]].double()
        assert stats.num_tokens_S[side] == len(seen_NL)
        assert stats.num_active_LS[:, side].tolist() == (seen_NL > 0).sum(0).tolist()
        assert stats.sum_activation_LS[:, side].tolist() == seen_NL.sum(0).tolist()
        assert stats.max_activation_LS[:, side].tolist() == seen_NL.max(0).values.tolist()


def test_sieve_sums_keep_what_float32_would_round_away():
    acts_WTL = torch.full((200, NUM_POSITIONS, NUM_LATENTS), 0.1)
    sieve = sieve_of(torch.arange(200), acts_WTL, torch.zeros(200, dtype=torch.bool), 1, batch=200)
    exact = 200 * NUM_POSITIONS * float(acts_WTL[0, 0, 0])
    assert sieve.firing_stats().sum_activation_LS[0, 0] == pytest.approx(exact, rel=1e-12)


def test_sieve_negative_activation_is_not_active():
    acts_WTL = torch.full((1, NUM_POSITIONS, NUM_LATENTS), -1.0)
    acts_WTL[0, 2, 1] = 0.5
    sieve = sieve_of(torch.tensor([0]), acts_WTL, torch.tensor([True]), 3)
    assert as_tuples(sieve.examples()) == [(1, True, 0, 2, 0.5, [(2, 0.5)])]
    assert sieve.firing_stats().num_active_LS.sum() == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_sieve_activation_not_finite_is_an_error_not_a_silence(value):
    acts_WTL = torch.zeros(1, NUM_POSITIONS, NUM_LATENTS)
    acts_WTL[0, 0, 0] = value
    with pytest.raises(TaskError, match="not finite"):
        sieve_of(torch.tensor([0]), acts_WTL, torch.tensor([False]), 1)


def test_sieve_half_precision_entries_on_small_integers_are_read_exactly():
    entries = ActiveEntries(
        torch.tensor([0], dtype=torch.int32),
        torch.tensor([300], dtype=torch.int16),
        torch.tensor([3], dtype=torch.int32),
        torch.tensor([2.5], dtype=torch.bfloat16),
    )
    sieve = ExampleSieve(NUM_LATENTS, 1)
    sieve.add(torch.tensor([8]), torch.tensor([False]), torch.tensor([301]), entries)
    assert as_tuples(sieve.examples()) == [(3, False, 8, 300, 2.5, [(300, 2.5)])]


def test_sieve_stream_of_many_windows_buffers_no_more_than_it_promises():
    sieve = ExampleSieve(NUM_LATENTS, num_kept=2, max_buffered=200)
    most = 0
    for step in range(50):
        acts_WTL = random_acts(step, 4) + step + 1  # every window beats those before it
        windows = torch.arange(4) + 4 * step
        mask_WT = torch.ones(4, NUM_POSITIONS, dtype=torch.bool)
        sieve.add(
            windows, torch.zeros(4, dtype=torch.bool), mask_WT.sum(1),
            active_entries(acts_WTL, mask_WT),
        )  # fmt: skip
        most = max(most, sieve.num_buffered)
    assert 100 < most <= 200
