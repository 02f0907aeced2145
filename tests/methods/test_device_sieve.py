"""The sieve on a device keeps and counts what the other one does (itself held to slow loops)."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.errors import TaskError
from ray_autointerp.methods.device_sieve import DeviceSieve
from ray_autointerp.methods.max_act import ActiveEntries, ExampleSieve, active_entries

NUM_LATENTS, NUM_POSITIONS = 4, 5
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_windows=st.integers(1, 30),
    num_kept=st.integers(1, 4),
    num_per_bin=st.sampled_from([0, 1, 3]),
    batch=st.integers(1, 9),
    max_buffered=st.sampled_from([0, 10, 1000]),
    device=st.sampled_from(DEVICES),
)
def test_same_examples_and_counts_as_the_other_sieve(
    seed: int,
    num_windows: int,
    num_kept: int,
    num_per_bin: int,
    batch: int,
    max_buffered: int,
    device: str,
) -> None:
    draws = torch.Generator().manual_seed(seed)
    shape = (num_windows, NUM_POSITIONS, NUM_LATENTS)
    # Few levels, so that activations tie; signs, so that some are not active.
    levels = torch.tensor([-1.0, 0.0, 0.0, 2.0**-20, 0.3, 0.4, 5.0, 2.0**20])
    acts_WTL = levels[torch.randint(0, len(levels), shape, generator=draws)]
    mask_WT = torch.rand(shape[:2], generator=draws) < 0.9
    is_score_W = torch.rand(num_windows, generator=draws) < 0.5
    windows_W = torch.randperm(1000, generator=draws)[:num_windows] * 10**7  # in any order
    made = {"num_per_bin": num_per_bin, "seed": seed}
    sieves = [
        ExampleSieve(NUM_LATENTS, num_kept, max_buffered, **made),
        DeviceSieve(NUM_LATENTS, num_kept, torch.device(device), max_buffered, **made),
    ]
    for start in range(0, num_windows, batch):
        part = slice(start, start + batch)
        entries = active_entries(acts_WTL[part], mask_WT[part])
        for sieve, where in zip(sieves, ("cpu", device), strict=True):
            moved = ActiveEntries(
                *(getattr(entries, f.name).to(where) for f in dataclasses.fields(entries))
            )
            sieve.add(windows_W[part], is_score_W[part], mask_WT[part].sum(1), moved)
    one, other = sieves
    for name in ("examples", "stratified"):
        expected, found = getattr(one, name)(), getattr(other, name)()
        for field in dataclasses.fields(expected):
            wanted, got = getattr(expected, field.name), getattr(found, field.name)
            assert np.array_equal(wanted, got) and wanted.dtype == got.dtype, (name, field.name)
    for field in dataclasses.fields(one.firing_stats()):
        wanted, got = (getattr(sieve.firing_stats(), field.name) for sieve in sieves)
        assert np.allclose(wanted, got, rtol=1e-12) and wanted.dtype == got.dtype, field.name


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_activation_that_is_not_finite_stops_the_task(bad: float) -> None:
    sieve = DeviceSieve(NUM_LATENTS, 2, torch.device("cpu"))
    where = torch.zeros(1, dtype=torch.long)
    entries = ActiveEntries(where, where, where, torch.tensor([bad]))
    with pytest.raises(TaskError, match="not finite"):
        sieve.add(where, torch.tensor([False]), torch.tensor([1]), entries)


def test_nothing_active_is_no_example() -> None:
    sieve = DeviceSieve(NUM_LATENTS, 2, torch.device("cpu"), num_per_bin=1)
    none = torch.zeros(0, dtype=torch.long)
    sieve.add(
        torch.tensor([7]),
        torch.tensor([True]),
        torch.tensor([3]),
        ActiveEntries(none, none, none, none.float()),
    )
    assert len(sieve.examples().windows_E) == len(sieve.stratified().windows_E) == 0
    assert sieve.firing_stats().num_tokens_S.tolist() == [0, 3]
