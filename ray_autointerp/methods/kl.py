"""KL divergence of next-token distributions, clean against clamped, in nats (methods 16).

KL(clean || clamped) = sum_t p(t) (log p(t) - log q(t)), in float64, of logits after the
softcap if the model has one.
"""

# B clamped rows, P prompts (or positions), V vocabulary

from collections.abc import Iterable

import torch
from torch import Tensor


def kl_divergence(clean_PV: Tensor, clamped_BPV: Iterable[Tensor]) -> Tensor:
    """KL(clean || clamped) per row and prompt, float64 [B, P], in nats.

    A token of clean probability 0 adds nothing; one whose clamped probability alone is 0 makes
    the KL infinite. One row is in float64 at a time: 8 x P x V bytes. Rows may be made one by one.
    """
    log_p_PV = clean_PV.double().log_softmax(-1)
    p_PV = log_p_PV.exp()
    is_zero_PV = p_PV == 0
    # Looked at once: zeros are rare, and to leave them out of every row costs a third of its time.
    has_zeros = bool(is_zero_PV.any())
    rows = []
    for clamped_PV in clamped_BPV:
        log_ratio_PV = log_p_PV - clamped_PV.double().log_softmax(-1)
        if has_zeros:
            log_ratio_PV = log_ratio_PV.masked_fill(is_zero_PV, 0.0)
        rows.append(torch.linalg.vecdot(p_PV, log_ratio_PV))
    return torch.stack(rows).clamp_min(0)


def mean_kl(clean_PV: Tensor, clamped_BPV: Iterable[Tensor]) -> Tensor:
    """KL(clean || clamped) in nats, mean over prompts, float64 [B]."""
    return kl_divergence(clean_PV, clamped_BPV).mean(-1)
