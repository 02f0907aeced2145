"""The exact passes that agreement is judged on: the sample's latents at one clamp value each.

On both sides of the split, window by window, with what is linear about them.
"""

# B latents of the sample, N windows of the explain side, M of the score side, D d_model

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.methods.jacobian import Jacobian, linear_change, linear_window_sums
from ray_autointerp.models.clamped_pass import clean_run, window_changes
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.runs.context import WorkerContext


@dataclass(frozen=True)
class SamplePasses:
    """Exact passes of the sample at one strength, and what is linear about them."""

    latents: list[int]
    value_B: Tensor
    norm_B: Tensor
    """Length of the clamp's contribution to the residual stream."""
    explain_BND: Tensor
    explain_counts_N: Tensor
    score_BMD: Tensor
    score_counts_M: Tensor
    linear_BND: Tensor
    """On the Jacobian's single windows, which are the first of the explain side's."""
    linear_mean_BD: Tensor


def sample_passes(
    context: WorkerContext, sae_id: str, latents: list[int], value_B: Tensor, jacobian: Jacobian
) -> SamplePasses:
    """Clamp every latent on all windows of both sides."""
    evidence, sae = context.run.config.evidence, context.sae(sae_id)
    explain_BND, counts_N = _exact_sums(
        context,
        sae_id,
        latents,
        value_B,
        change_windows(context.tables, "explain", evidence.change_windows),
    )
    score_BMD, counts_M = _exact_sums(
        context,
        sae_id,
        latents,
        value_B,
        change_windows(context.tables, "score", evidence.agreement_windows),
    )
    x_BD = (sae.W_dec_LD[latents] * value_B[:, None]).float()
    return SamplePasses(
        latents,
        value_B,
        x_BD.norm(dim=1),
        explain_BND,
        counts_N,
        score_BMD,
        counts_M,
        linear_window_sums(x_BD, jacobian.singles_NDD),
        linear_change(x_BD, jacobian.mean_DD),
    )


def _exact_sums(
    context: WorkerContext, sae_id: str, latents: list[int], value_B: Tensor, windows_WT: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums [B, W, D] of the exact change per window, and the positions counted of each."""
    sums, counts = [], []
    micro_batch = context.run.config.operations.micro_batch
    for batch_WT in torch.split(windows_WT, micro_batch):
        clean = clean_run(context.subject, context.sae(sae_id), latents, batch_WT)
        rows = max(1, micro_batch // len(batch_WT))
        done = window_changes(context.subject, context.sae(sae_id), clean, latents, value_B, rows)
        sums.append(done.sums_BWD)
        counts.append(clean.counts_W)
    return torch.cat(sums, 1), torch.cat(counts)
