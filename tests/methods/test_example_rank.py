"""Seeded examples of every strength against plain loops, whatever the sharding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.methods.example_rank import (
    LOWEST_EXPONENT,
    NUM_BINS,
    Stratified,
    activation_bins,
    window_hashes,
)
from ray_autointerp.methods.max_act import ExampleSieve, active_entries
from ray_autointerp.methods.top_examples import merge_examples

LATENTS, POSITIONS = 3, 4


def acts_of(seed: int, num_windows: int) -> torch.Tensor:
    """Activations over several powers of two, many zeros."""
    draws = torch.Generator().manual_seed(seed)
    shape = (num_windows, POSITIONS, LATENTS)
    levels = torch.tensor([0.0, 0.0, 0.3, 0.6, 1.0, 1.9, 5.0, 9.0])
    return levels[torch.randint(0, 8, shape, generator=draws)]


def sieve_of(windows, acts_WTL, is_score_W, per_bin, max_buffered=7) -> ExampleSieve:
    sieve = ExampleSieve(LATENTS, 2, max_buffered, num_per_bin=per_bin, seed=5)
    everywhere = torch.ones(acts_WTL.shape[:2], dtype=torch.bool)
    for start in range(0, len(windows), 3):
        part = slice(start, start + 3)
        entries = active_entries(acts_WTL[part], everywhere[part])
        sieve.add(windows[part], is_score_W[part], everywhere[part].sum(1), entries)
    return sieve


def keys(examples):
    columns = (examples.latents_E, examples.is_score_E, examples.windows_E)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    num_windows=st.integers(0, 20),
    per_bin=st.integers(1, 3),
    owner=st.lists(st.integers(0, 2), min_size=20, max_size=20),
)
def test_kept_are_the_first_by_hash_of_every_strength(seed, num_windows, per_bin, owner) -> None:
    acts_WTL = acts_of(seed, num_windows)
    windows = torch.arange(num_windows) * 11 + 3
    is_score_W = windows % 2 == 0
    groups: dict[tuple[int, bool, int], list[tuple[int, int]]] = {}
    for row, window in enumerate(windows.tolist()):
        for latent in range(LATENTS):
            most = float(acts_WTL[row, :, latent].max())
            if most > 0:
                key = latent, bool(is_score_W[row]), math.floor(math.log2(most))
                value = int(window_hashes(np.array([window]), 5, np.array([latent]))[0])
                groups.setdefault(key, []).append((value, window))
    expected = {
        (latent, side, window)
        for (latent, side, _), found in groups.items()
        for _, window in sorted(found)[:per_bin]
    }
    whole = sieve_of(windows, acts_WTL, is_score_W, per_bin).stratified()
    assert set(keys(whole)) == expected and len(keys(whole)) == len(expected)
    owners = torch.tensor(owner[:num_windows], dtype=torch.long)
    parts = [
        sieve_of(windows[owners == s], acts_WTL[owners == s], is_score_W[owners == s], per_bin)
        for s in range(3)
    ]
    merged = merge_examples([p.stratified() for p in parts], per_bin, Stratified(5))
    assert keys(merged) == keys(whole)


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_bins_are_powers_of_two_with_open_ends(value: float) -> None:
    found = int(activation_bins(np.array([value], np.float32))[0])
    exact = math.frexp(value)[1] - 1 - LOWEST_EXPONENT
    assert found == min(max(exact, 0), NUM_BINS - 1)


def test_hashes_depend_on_window_seed_and_salt_and_spread_evenly() -> None:
    windows = np.arange(20_000)
    first = window_hashes(windows, 1)
    assert len(set(first.tolist())) == len(windows)
    assert not (first == window_hashes(windows, 2)).any()
    assert not (first == window_hashes(windows, 1, 3)).any()
    share = (first < np.uint64(2**62)).mean()
    assert share == pytest.approx(0.25, abs=0.02)


def test_a_latent_that_fires_on_half_of_all_tokens_is_bounded() -> None:
    """Entries held stay within twice what is kept, however long the stream."""
    sieve = ExampleSieve(2, 4, 500, num_per_bin=4, seed=0)
    draws, held = torch.Generator().manual_seed(0), []
    for batch in range(60):
        acts_WTL = torch.rand(16, 32, 2, generator=draws) * 4
        acts_WTL[torch.rand(16, 32, 2, generator=draws) < 0.5] = 0
        everywhere = torch.ones(16, 32, dtype=torch.bool)
        windows = torch.arange(16) + 16 * batch
        entries = active_entries(acts_WTL, everywhere)
        sieve.add(windows, windows % 2 == 0, everywhere.sum(1), entries)
        held.append(sieve.num_buffered)
    assert max(held[30:]) < 6_000
    assert sieve.firing_stats().num_active_LS.sum() > 25_000
