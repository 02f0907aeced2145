"""TokenChange: how clamping a latent changes the logits (methods 4.3, 9.1).

The mean logit diff is W_U mean(norm(h_clamped) - norm(h_clean)): normed states are averaged
before the unembedding, one D x V product per latent in place of one per position. Biases cancel.
This is exact without a final softcap; with one it is the change before the softcap, and
`mean_softcapped_logit_diff` is the exact, dearer way. Knows no model: give it normed states.
"""

# B clamped rows (latent and sign), W windows, T positions, D d_model, V vocabulary

import torch
from torch import Tensor

from ray_autointerp.methods.token_lists import HubStats, RankBy, SignedLists, signed_lists


def normed_diff_sums(clamped_BWTD: Tensor, clean_WTD: Tensor, mask_WT: Tensor) -> Tensor:
    """Per window, the sum over unmasked positions of (clamped - clean) normed states, [B, W, D].

    Subtracted per position and summed in float64, so that small diffs of large states survive;
    returned in float32, or in float64 if the states are. Divide by the unmasked positions.
    """
    wide = torch.promote_types(clean_WTD.dtype, torch.float32)
    diff_BWTD = clamped_BWTD.to(wide) - clean_WTD.to(wide)
    diff_BWTD = diff_BWTD.masked_fill(~mask_WT[..., None], 0)
    return diff_BWTD.sum(2, dtype=torch.float64).to(wide)


def mean_normed_diff(clamped_BWTD: Tensor, clean_WTD: Tensor, mask_WT: Tensor) -> Tensor:
    """Mean over unmasked positions of (clamped - clean) states after the final norm, [B, D]."""
    num_positions = int(mask_WT.sum())
    assert num_positions > 0, "a mean over no positions"
    sums_BWD = normed_diff_sums(clamped_BWTD, clean_WTD, mask_WT)
    return (sums_BWD.sum(1, dtype=torch.float64) / num_positions).to(sums_BWD.dtype)


def mean_logit_diff(mean_diff_BD: Tensor, W_U_DV: Tensor) -> Tensor:
    """Mean logit diff [B, V] (before any softcap) from the mean diff of normed states."""
    wide = torch.promote_types(mean_diff_BD.dtype, torch.float32)
    return mean_diff_BD.to(wide) @ W_U_DV.to(wide)


def mean_softcapped_logit_diff(
    clamped_BWTD: Tensor,
    clean_WTD: Tensor,
    W_U_DV: Tensor,
    b_U_V: Tensor | None,
    mask_WT: Tensor,
    softcap: float,
    chunk_size: int = 64,
) -> Tensor:
    """Mean diff [B, V] of softcap * tanh(logit / softcap), position by position.

    Exact where a final softcap exists (Gemma-2: 30); costs one D x V product per position, and
    `chunk_size` x V numbers at a time.
    """
    num_positions = int(mask_WT.sum())
    assert num_positions > 0, "a mean over no positions"

    def capped(normed_ND: Tensor) -> Tensor:
        logits_NV = mean_logit_diff(normed_ND, W_U_DV)
        if b_U_V is not None:
            logits_NV = logits_NV + b_U_V.to(logits_NV)
        return softcap * torch.tanh(logits_NV / softcap)

    clean_ND = clean_WTD[mask_WT]
    sums = clean_ND.new_zeros((len(clamped_BWTD), W_U_DV.shape[1]), dtype=torch.float64)
    for start in range(0, num_positions, chunk_size):
        chunk = slice(start, start + chunk_size)
        clean_CV = capped(clean_ND[chunk])
        for row, clamped_WTD in enumerate(clamped_BWTD):
            diff_CV = capped(clamped_WTD[mask_WT][chunk]) - clean_CV
            sums[row] += diff_CV.sum(0, dtype=torch.float64)
    return (sums / num_positions).to(torch.promote_types(clean_ND.dtype, torch.float32))


def token_change(
    logit_diff_BV: Tensor, num_tokens: int, hub: HubStats | None = None, rank_by: RankBy = "logit"
) -> SignedLists:
    """The tokens whose mean logit rises (promoted) and falls (suppressed) most under the clamp.

    Diffs keep their sign. Under a negative clamp the promoted tokens are those that rise when
    the latent is set below zero.
    """
    return signed_lists(logit_diff_BV, num_tokens, hub, rank_by)
