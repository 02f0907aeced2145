"""How far two estimates of the same logit diffs agree (methods 10).

Three measures per row: the overlap of the top tokens, the rank correlation over the vocabulary,
and the relative squared error. An estimate is judged on windows it has not seen, beside how well
the exact method agrees with itself there.
"""

# B rows, V vocabulary

from dataclasses import dataclass

import torch
from torch import Tensor

TOP_TOKENS = 20
"""Tokens compared from the promoted end."""


@dataclass(frozen=True)
class Agreement:
    """One value per row, float32 [B] each."""

    overlap_B: Tensor
    """Share of the reference's top tokens that are among the estimate's."""
    spearman_B: Tensor
    relative_error_B: Tensor
    """Squared error over the reference's squared length, over the vocabulary."""


@dataclass(frozen=True)
class Reference:
    """Logit diffs to compare with; ranks are taken once for all estimates."""

    logits_BV: Tensor
    top_BK: Tensor
    ranks_BV: Tensor


def reference(logits_BV: Tensor) -> Reference:
    """The reference's top tokens and ranks."""
    num_tokens = min(TOP_TOKENS, logits_BV.shape[1])
    return Reference(logits_BV, logits_BV.topk(num_tokens).indices, _centred_ranks(logits_BV))


def agreement(estimate_BV: Tensor, ref: Reference) -> Agreement:
    """Of an estimate with a reference, row by row."""
    top_BK = estimate_BV.topk(ref.top_BK.shape[1]).indices
    is_shared_BK = (top_BK[:, :, None] == ref.top_BK[:, None, :]).any(1)
    ranks_BV = _centred_ranks(estimate_BV)
    lengths_B = ranks_BV.norm(dim=1) * ref.ranks_BV.norm(dim=1)
    error_B = (estimate_BV - ref.logits_BV).double().pow(2).sum(1)
    return Agreement(
        is_shared_BK.float().mean(1),
        ((ranks_BV * ref.ranks_BV).sum(1) / lengths_B).float(),
        (error_B / ref.logits_BV.double().pow(2).sum(1)).float(),
    )


def _centred_ranks(values_BV: Tensor) -> Tensor:
    """Ranks less their mean, float64; equal values keep the order of their token ids."""
    order_BV = values_BV.argsort(dim=1, stable=True)
    ranks_V = torch.arange(values_BV.shape[1], dtype=torch.float64, device=values_BV.device)
    ranks_BV = torch.empty_like(order_BV, dtype=torch.float64)
    ranks_BV.scatter_(1, order_BV, ranks_V.expand_as(ranks_BV).contiguous())
    return ranks_BV - ranks_V.mean()
