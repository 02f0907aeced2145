"""The k largest by blocks against PyTorch's, which sees every number."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.methods import top_k
from ray_autointerp.methods.top_k import top_k_entries


def dense(x_ML: torch.Tensor, k: int) -> torch.Tensor:
    """Which are among the k largest."""
    kept = torch.zeros(x_ML.shape, dtype=torch.bool)
    return kept.scatter_(1, x_ML.topk(k, dim=1).indices, True)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    num_rows=st.integers(1, 9),
    k=st.integers(1, 9),
    num_columns=st.sampled_from([10, 64, 100, 576, 640, 2048, 4096]),
    spread=st.sampled_from(["even", "one block", "one class of columns", "mostly below zero"]),
)
def test_entries_are_the_k_largest_by_row_and_column(
    seed: int, num_rows: int, k: int, num_columns: int, spread: str
) -> None:
    draws = torch.Generator().manual_seed(seed)
    # A permutation of different numbers: no ties.
    numbers = torch.randperm(num_rows * num_columns, generator=draws).float()
    x_ML = numbers.view(num_rows, num_columns)
    if spread == "one block":
        x_ML[:, 32:64] += 10.0**6
    elif spread == "one class of columns":
        x_ML[:, ::32] += 10.0**6
    elif spread == "mostly below zero":
        x_ML -= x_ML.max() - 3
    rows, columns, values = top_k_entries(x_ML, k)
    expected = dense(x_ML, k).nonzero()
    assert torch.equal(torch.stack([rows, columns], dim=1), expected)
    assert torch.equal(values, x_ML[rows, columns])


@pytest.mark.parametrize("num_columns", [100, 2048])
def test_of_equal_values_at_the_cut_some_stay(num_columns: int) -> None:
    x_ML = torch.zeros(3, num_columns)
    x_ML[0, 7] = 2
    x_ML[1, 50:60] = 1
    rows, columns, values = top_k_entries(x_ML, 4)
    assert rows.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert values.view(3, 4).sum(1).tolist() == [2, 4, 0]
    assert 7 in columns[:4].tolist()
    assert set(columns[4:8].tolist()) <= set(range(50, 60))
    assert all(len(set(row)) == 4 for row in columns.view(3, 4).tolist())


@pytest.mark.parametrize("num_columns", [100, 2048])
@pytest.mark.parametrize("num_nans", [1, 3, 2048])
def test_nans_are_the_largest_of_all(num_columns: int, num_nans: int) -> None:
    draws = torch.Generator().manual_seed(0)
    x_ML = torch.randn(2, num_columns, generator=draws)
    x_ML[1, :num_nans] = torch.nan
    rows, columns, values = top_k_entries(x_ML, 4)
    assert int(values[rows == 1].isnan().sum()) == min(num_nans, 4)
    assert torch.equal(columns[rows == 0], dense(x_ML[:1], 4).nonzero()[:, 1])


def test_blocks_of_common_widths_are_neither_too_few_nor_too_many() -> None:
    for k in (32, 64, 128):
        for width in (4096, 16384, 24576, 65536, 131072):
            size = top_k._block_size(width, k)
            if size is not None:
                assert 2 * k <= width // size <= 8 * k
    assert top_k._block_size(16384, 32) == 64
    assert top_k._block_size(40, 6) is None, "few columns are compared one by one"
    assert top_k._block_size(4100, 32) is None, "blocks are of one size"


def test_half_precision_goes_the_plain_way() -> None:
    draws = torch.Generator().manual_seed(0)
    x_ML = torch.randn(4, 2048, generator=draws).to(torch.bfloat16)
    rows, _, values = top_k_entries(x_ML, 8)
    assert rows.tolist() == [row for row in range(4) for _ in range(8)]
    assert values.dtype == torch.bfloat16
    expected = x_ML.topk(8, dim=1).values.sort(dim=1).values
    assert torch.equal(values.view(4, 8).sort(dim=1).values, expected)
