"""TokenChange: how clamping a latent changes the logits (methods 4.3, 9.1).

The mean logit diff is W_U mean(norm(h_clamped) - norm(h_clean)): normed states are averaged
before the unembedding, one D x V product per latent in place of one per position. Biases cancel.
This is exact without a final softcap; with one it is the change before the softcap.
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


def mean_logit_diff(mean_diff_BD: Tensor, W_U_DV: Tensor) -> Tensor:
    """Mean logit diff [B, V] (before any softcap) from the mean diff of normed states."""
    wide = torch.promote_types(mean_diff_BD.dtype, torch.float32)
    return mean_diff_BD.to(wide) @ W_U_DV.to(wide)


def token_change(
    logit_diff_BV: Tensor, num_tokens: int, hub: HubStats | None = None, rank_by: RankBy = "logit"
) -> SignedLists:
    """The tokens whose mean logit rises (promoted) and falls (suppressed) most under the clamp.

    Diffs keep their sign. Under a negative clamp the promoted tokens are those that rise when
    the latent is set below zero.
    """
    return signed_lists(logit_diff_BV, num_tokens, hub, rank_by)
