"""hub_stats: each token's mean and spread of projected logits over all latents of an SAE.

One table per map from latents to the vocabulary. Closed form over the whole dictionary (methods
9.9), also when a run labels only a range of it; through the Jacobian, where each latent counts at
its own maximum, over the range.
"""

import torch

from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.input_map import unit_embeddings
from ray_autointerp.methods.jacobian import linear_change
from ray_autointerp.methods.vocab_proj import apply_norm
from ray_autointerp.passes.hub_stats import hub_table, reference_scale
from ray_autointerp.passes.jacobian import mean_jacobian_of
from ray_autointerp.passes.read_rows import read_rows
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write `hub_stats/<map>` of one SAE: a row per token."""
    assert task.sae is not None
    subject, sae = context.subject, context.sae(task.sae)
    if task.method == "lens":
        rows_LD = apply_norm(sae.W_dec_LD, subject.final_norm)
        stats = hub_stats(rows_LD, subject.W_U_DV, subject.b_U_V)
    elif task.method == "reads":
        stats = hub_stats(
            read_rows(context, task.sae, slice(None)), unit_embeddings(subject.W_E_VD).T
        )
    else:
        whole, device = context.run.axes.latents[task.sae], sae.W_dec_LD.device
        scale_L1 = reference_scale(context.tables, task.sae, device)[:, None]
        mean_DX = mean_jacobian_of(context.tables, task.sae, device)
        # As many latents at once as take the memory of one decoder row for each, in float32.
        together = -(-len(whole) // len(context.run.axes.write_points(task.sae)))
        rows_LX = torch.split(sae.written_LX[whole.start : whole.stop], together)
        moved = [
            linear_change(rows_BX * scale_B1, mean_DX)
            for rows_BX, scale_B1 in zip(rows_LX, torch.split(scale_L1, together), strict=True)
        ]
        stats = hub_stats(torch.cat(moved), subject.W_U_DV)
    context.write(task, "hub_stats", hub_table(stats))
