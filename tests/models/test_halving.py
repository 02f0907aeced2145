"""Out of memory halves the batch and goes on: the same rows, each once, and it is told."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ray_autointerp.models.clamped_pass import clean_run, window_changes
from ray_autointerp.models.halving import Halving
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("fits", "halved"), [(9, 0), (8, 0), (4, 1), (3, 2), (1, 3)])
def test_every_row_is_done_once_in_batches_that_fit(
    error: Exception, fits: int, halved: int
) -> None:
    halving, done = Halving(), []

    def work(rows: slice) -> list[int]:
        if rows.stop - rows.start > fits:
            raise error
        done.extend(range(rows.start, rows.stop))
        return list(range(rows.start, rows.stop))

    parts = halving.run(21, 8, work)
    assert [row for part in parts for row in part] == done == list(range(21))
    assert halving.times == halved
    again = halving.run(10, 8, work)
    assert max(map(len, again)) <= max(fits, 1) and halving.times == halved, "it is remembered"


def test_a_single_row_that_does_not_fit_is_raised_as_it_came() -> None:
    def work(rows: slice) -> None:
        raise MemoryError("of this row")

    with pytest.raises(MemoryError, match="of this row"):
        Halving().run(4, 4, work)


def test_other_errors_are_not_taken_for_memory() -> None:
    def work(rows: slice) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Halving().run(4, 4, work)


def test_clamped_passes_are_the_same_after_halving(
    tiny: Callable[..., Subject],
    sae_folder: Callable[..., str],
    windows_WT: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, sae = tiny("llama"), Sae.load(sae_folder())
    latents, values = [3, 17, 29, 0, 3], torch.tensor([5.0, 2.0, -3.0, 4.0, -5.0])
    clean = clean_run(subject, sae, sorted(set(latents)), windows_WT)
    whole = window_changes(subject, sae, clean, latents, values, 5)
    monkeypatch.setattr(subject, "halving", Halving())
    resume = Subject.resume

    def tight(self: Subject, h_BTD: Tensor, *others: Any) -> Tensor:
        if len(h_BTD) > 6:  # two rows of three windows
            raise torch.OutOfMemoryError("CUDA out of memory")
        return resume(self, h_BTD, *others)

    monkeypatch.setattr(Subject, "resume", tight)
    found = window_changes(subject, sae, clean, latents, values, 5)
    assert subject.halving.times == 1, "five rows, then two"
    torch.testing.assert_close(found.sums_BWD, whole.sums_BWD, rtol=0, atol=1e-4)
