"""jacobian_proj: what raising each latent to its maximum does to the logits, to first order.

One matrix product for all latents, dead ones too (at the SAE's median maximum). How far it can be
believed on this subject and SAE is what the step `agreement` measures.
"""

from ray_autointerp.methods.jacobian import jacobian_proj, linear_change
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.hub_stats import read_hub_stats, reference_scale
from ray_autointerp.stages.jacobian import jacobian_of
from ray_autointerp.stages.token_entries import token_entries


def run(task: Task, desk: Desk) -> None:
    """Write one latent shard of `jacobian_proj`."""
    assert task.sae is not None
    subject, latents = desk.subject, desk.latents(task)
    decoder_LD = desk.sae(task.sae).W_dec_LD[latents.start : latents.stop]
    first = desk.run.axes.latents[task.sae].start
    scale_L = reference_scale(desk, task.sae, decoder_LD.device)
    scale_L = scale_L[latents.start - first : latents.stop - first]
    jacobian = jacobian_of(desk, task.sae, decoder_LD.device)
    lists = jacobian_proj(
        linear_change(decoder_LD * scale_L[:, None], jacobian.mean_DD),
        subject.W_U_DV,
        desk.run.config.evidence.num_changed_tokens,
        read_hub_stats(desk, task.sae, "jacobian"),
    )
    desk.write(
        task,
        "jacobian_proj",
        [
            {
                "latent": latent,
                "status": "ok",
                "reference_activation": float(scale_L[i]),
                "promoted": token_entries(lists.promoted, i, desk.tokenizer),
                "suppressed": token_entries(lists.suppressed, i, desk.tokenizer),
            }
            for i, latent in enumerate(latents)
        ],
    )
