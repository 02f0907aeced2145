"""The k largest of each row of a wide matrix, without comparing most of it one by one.

A row is cut into blocks. The k-th largest of the blocks' maxima is reached by at least k numbers
of the row, so that nothing below it can be among the k largest: only blocks whose maximum reaches
it are looked into. Finding maxima is quick on a processor, choosing among numbers is not.
"""

# M rows, L columns, B blocks, S columns of a block, H blocks looked into, C candidates, N found

import numpy as np
import torch
from torch import Tensor

_NARROWEST = 32
"""Columns of a block: of narrower ones PyTorch takes the maxima number by number."""


def top_k_entries(x_ML: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values of the k largest of each row, by row and column.

    Of equal values at the cut any may stay. A NaN counts as the largest of all.
    """
    num_rows, num_columns = x_ML.shape
    size = _block_size(num_columns, k)
    # A GPU's top k is quick as it is; numpy, which finds the k-th largest below, has no bfloat16.
    if x_ML.device.type == "cpu" and x_ML.dtype == torch.float32 and size is not None:
        found = _of_blocks(x_ML.reshape(-1, size), num_rows, k)
        if len(found[0]) == num_rows * k:
            return found  # else some row has equal values at the cut
    columns_Mk = x_ML.topk(k, dim=-1, sorted=False).indices.sort(dim=-1).values
    rows_Mk = torch.arange(num_rows, device=x_ML.device)[:, None].expand(-1, k)
    return rows_Mk.reshape(-1), columns_Mk.reshape(-1), x_ML.gather(1, columns_Mk).reshape(-1)


def _block_size(num_columns: int, k: int) -> int | None:
    """Wider blocks in wider rows, of which 4 to 8 k are best; None if there are too few."""
    size = _NARROWEST
    while num_columns // size > 8 * k:
        size *= 2
    return size if num_columns % size == 0 and num_columns // size >= 2 * k else None


def _of_blocks(blocks_BS: Tensor, num_rows: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `top_k_entries`, of the rows' blocks; all of several equal values at the cut."""
    size, per_row = blocks_BS.shape[1], len(blocks_BS) // num_rows
    maxima_MB = blocks_BS.amax(dim=1).view(num_rows, per_row)
    bound_M = _kth_largest(maxima_MB, k)
    # "Not below" instead of "at least": a NaN is to be found.
    block_H = (maxima_MB < bound_M[:, None]).logical_not_().view(-1).nonzero()[:, 0]
    row_H = block_H // per_row
    values_HS = blocks_BS.index_select(0, block_H)
    place_C = _places((values_HS < bound_M.index_select(0, row_H)[:, None]).logical_not_())
    values_C = values_HS.view(-1).index_select(0, place_C)
    hit_C = place_C // size
    row_C = row_H.index_select(0, hit_C)
    cut_M = _kth_largest(_ragged(values_C, row_C, num_rows), k)
    kept = (values_C < cut_M.index_select(0, row_C)).logical_not_().nonzero()[:, 0]
    row_N, hit_N = row_C.index_select(0, kept), hit_C.index_select(0, kept)
    column_N = (block_H.index_select(0, hit_N) - row_N * per_row) * size
    column_N += place_C.index_select(0, kept) % size
    return row_N, column_N, values_C.index_select(0, kept)


def _kth_largest(x_ML: Tensor, k: int) -> Tensor:
    place = x_ML.shape[1] - k
    return torch.from_numpy(np.partition(x_ML.numpy(), place, axis=1)[:, place].copy())


def _places(mask_HS: Tensor) -> Tensor:
    """Where a mask with few trues is true, counted over all of it: words of eight bytes first."""
    words = mask_HS.view(-1).view(torch.int64).nonzero()[:, 0]
    bytes_found = mask_HS.view(-1, 8).index_select(0, words).view(-1).nonzero()[:, 0]
    return words.index_select(0, bytes_found // 8).mul_(8).add_(bytes_found % 8)


def _ragged(values_C: Tensor, row_C: Tensor, num_rows: int) -> Tensor:
    """Values of rising rows, a row of the result each, filled up with negative infinity."""
    count_M = torch.bincount(row_C, minlength=num_rows)
    most = int(count_M.max())
    shift_M = torch.arange(num_rows) * most - (count_M.cumsum(0) - count_M)
    filled = torch.full((num_rows, most), -torch.inf)
    filled.view(-1)[torch.arange(len(row_C)) + shift_M.index_select(0, row_C)] = values_C
    return filled
