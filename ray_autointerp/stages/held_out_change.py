"""held_out_change: what raising a chosen latent does to the logits, on text no evidence is from.

Exact passes on windows of the score side, at both strengths (methods 4.3, 10): what scores hold
descriptions against. The mean change is kept whole; times the unembedding it is the mean logit
diff of every token.
"""

import torch

from ray_autointerp.methods.token_change import mean_logit_diff, token_change
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.passes.exact_sums import exact_sums
from ray_autointerp.passes.strengths import STRENGTHS, raised_values
from ray_autointerp.passes.token_entries import token_entries
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

NUM_TOKENS = 100
"""Promoted and suppressed tokens kept, each."""

_TOGETHER = 64
"""Rows whose logits are held over the vocabulary at once."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `held_out_change`: a row per latent and strength."""
    assert task.sae is not None
    latents = context.tables.chosen(task)
    rows: list[Row] = [
        {"latent": latent, "strength": strength, "status": "kl_unreached", "clamp_value": value}
        for strength in STRENGTHS
        for latent, value in raised_values(context.tables, task.sae, latents, strength).items()
    ]
    reached = [row for row in rows if row["clamp_value"] is not None]
    if reached:
        _measure(context, task.sae, reached)
    context.write(task, "held_out_change", rows)


def _measure(context: WorkerContext, sae_id: str, rows: list[Row]) -> None:
    """Fill the rows in."""
    windows_WT = change_windows(
        context.tables, "score", context.run.config.evidence.held_out_windows
    )
    value_B = torch.tensor([row["clamp_value"] for row in rows], device=context.subject.device)
    latent_B = [row["latent"] for row in rows]
    mean_BD = exact_sums(context, sae_id, latent_B, value_B, windows_WT).mean_BD
    for start in range(0, len(rows), _TOGETHER):
        means_RD = mean_BD[start : start + _TOGETHER]
        lists = token_change(mean_logit_diff(means_RD, context.subject.W_U_DV), NUM_TOKENS)
        columns = zip(
            means_RD.cpu().numpy(),
            token_entries(lists.promoted, context.tokenizer),
            token_entries(lists.suppressed, context.tokenizer),
            strict=True,
        )
        for row, (mean_D, promoted, suppressed) in zip(rows[start:], columns, strict=False):
            row |= {
                "status": "ok",
                "num_windows": len(windows_WT),
                "mean_change": mean_D,
                "promoted": promoted,
                "suppressed": suppressed,
            }
