"""Exact TokenChange passes, window by window: what means and their scatter are made of."""

# B rows (a latent and a value), W windows, T positions, D d_model

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.models.clamped_pass import clean_run, window_changes
from ray_autointerp.runs.context import WorkerContext


@dataclass(frozen=True)
class ExactSums:
    """Sums of the exact change of the final normed states, and the positions behind them."""

    sums_BWD: Tensor
    counts_W: Tensor

    @property
    def mean_BD(self) -> Tensor:
        """Mean over all counted positions."""
        return self.sums_BWD.sum(1) / self.counts_W.sum()


def exact_sums(
    context: WorkerContext,
    sae_id: str,
    latent_B: Sequence[int],
    value_B: Tensor,
    windows_WT: Tensor,
) -> ExactSums:
    """Row b clamps latent_B[b] to value_B[b]; all rows share the clean pass of the windows.

    A latent may have several rows.
    """
    sums, counts = [], []
    subject, sae = context.subject, context.sae(sae_id)
    micro_batch = context.run.config.operations.micro_batch
    latents = list(dict.fromkeys(latent_B))
    for batch_WT in torch.split(windows_WT, micro_batch):
        clean = clean_run(subject, sae, latents, batch_WT)
        rows = max(1, micro_batch // len(batch_WT))
        done = window_changes(subject, sae, clean, latent_B, value_B, rows)
        sums.append(done.sums_BWD)
        counts.append(clean.counts_W)
    return ExactSums(torch.cat(sums, 1), torch.cat(counts))
