"""TokenChange: averaged normed states against logits written out at every position."""

import pytest
import torch

from ray_autointerp.methods.token_change import (
    mean_logit_diff,
    normed_diff_sums,
    token_change,
)


@pytest.fixture
def states():
    draws = torch.Generator().manual_seed(4)
    clean_WTD = torch.randn(3, 4, 5, generator=draws)
    clamped_BWTD = clean_WTD + torch.randn(2, 3, 4, 5, generator=draws) / 4
    mask_WT = torch.ones(3, 4, dtype=torch.bool)
    mask_WT[:, 0] = False
    mask_WT[2, 3] = False
    W_U_DV = torch.randn(5, 7, generator=draws)
    b_U_V = torch.randn(7, generator=draws)
    return clamped_BWTD, clean_WTD, mask_WT, W_U_DV, b_U_V


def slow_mean_diff(states, row):
    """Mean over unmasked positions of clamped logits - clean logits."""
    clamped_BWTD, clean_WTD, mask_WT, W_U_DV, b_U_V = states
    diffs = []
    for window in range(3):
        for position in range(4):
            if mask_WT[window, position]:
                after = clamped_BWTD[row, window, position].double() @ W_U_DV.double() + b_U_V
                before = clean_WTD[window, position].double() @ W_U_DV.double() + b_U_V
                diffs.append([x - y for x, y in zip(after.tolist(), before.tolist(), strict=True)])
    return [sum(column) / len(diffs) for column in zip(*diffs, strict=True)]


def test_mean_logit_diff_before_unembedding_equals_mean_of_logit_diffs(states):
    clamped_BWTD, clean_WTD, mask_WT, W_U_DV, _ = states
    for dtype, rel in ((torch.float32, 1e-4), (torch.float64, 1e-11)):
        sums_BWD = normed_diff_sums(clamped_BWTD.to(dtype), clean_WTD.to(dtype), mask_WT)
        mean_BD = sums_BWD.sum(1) / mask_WT.sum()
        diff_BV = mean_logit_diff(mean_BD, W_U_DV.to(dtype))
        assert diff_BV.dtype == dtype
        for row in range(2):
            expected = slow_mean_diff(states, row)
            assert diff_BV[row].tolist() == pytest.approx(expected, rel=rel, abs=rel / 100)


def test_normed_diff_small_change_of_large_states_is_not_rounded_away():
    clean_WTD = torch.full((1, 2000, 1), 4096.0)
    clamped_BWTD = clean_WTD[None] + 2.0**-11
    mask_WT = torch.ones(1, 2000, dtype=torch.bool)
    assert normed_diff_sums(clamped_BWTD, clean_WTD, mask_WT).item() == 2000 * 2.0**-11


def test_token_change_lists_rising_and_falling_tokens_with_their_sign():
    lists = token_change(torch.tensor([[0.5, -2.0, 0.0, 1.5], [-0.5, 2.0, 0.0, -1.5]]), 1)
    assert lists.promoted.ids_BK.tolist() == [[3], [1]]
    assert lists.promoted.logits_BK.tolist() == [[1.5], [2.0]]
    assert lists.suppressed.ids_BK.tolist() == [[1], [3]]
    assert lists.suppressed.logits_BK.tolist() == [[-2.0], [-1.5]]
