"""jacobian_proj: what raising each latent to its maximum does to the logits, to first order.

One matrix product for all latents, dead ones too (at the SAE's median maximum). How far it can be
believed on this subject and SAE is what the step `agreement` measures.
"""

from ray_autointerp.methods.jacobian import jacobian_proj, linear_change
from ray_autointerp.passes.hub_stats import read_hub_stats, reference_scale
from ray_autointerp.passes.jacobian import mean_jacobian_of
from ray_autointerp.passes.token_entries import token_entries
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `jacobian_proj`."""
    assert task.sae is not None
    subject, latents = context.subject, context.tables.latents(task)
    written_LX = context.sae(task.sae).written_LX[latents.start : latents.stop]
    first = context.run.axes.latents[task.sae].start
    scale_L = reference_scale(context.tables, task.sae, written_LX.device)
    scale_L = scale_L[latents.start - first : latents.stop - first]
    mean_DX = mean_jacobian_of(context.tables, task.sae, written_LX.device)
    lists = jacobian_proj(
        linear_change(written_LX * scale_L[:, None], mean_DX),
        subject.W_U_DV,
        context.run.config.evidence.num_changed_tokens,
        read_hub_stats(context.tables, task.sae, "jacobian"),
    )
    promoted = token_entries(lists.promoted, context.tokenizer)
    suppressed = token_entries(lists.suppressed, context.tokenizer)
    context.write(
        task,
        "jacobian_proj",
        [
            {
                "latent": latent,
                "status": "ok",
                "reference_activation": scale,
                "promoted": promoted[i],
                "suppressed": suppressed[i],
            }
            for i, (latent, scale) in enumerate(zip(latents, scale_L.tolist(), strict=True))
        ],
    )
