"""hub_stats: each token's mean and spread of projected logits over all latents of an SAE.

Closed form over the whole dictionary (methods 9.9), also when a run labels only a range of it.
"""

import pyarrow as pa

from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.vocab_proj import apply_norm
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk


def run(task: Task, desk: Desk) -> None:
    """Write `hub_stats/lens` of one SAE: a row per token."""
    assert task.sae is not None
    subject, sae = desk.subject, desk.sae(task.sae)
    stats = hub_stats(apply_norm(sae.W_dec_LD, subject.final_norm), subject.W_U_DV, subject.b_U_V)
    table = pa.table(
        {
            "token": range(len(stats.mean_V)),
            "mean": stats.mean_V.cpu().numpy(),
            "sd": stats.sd_V.cpu().numpy(),
        },
        schema=TABLES["hub_stats"].schema,
    )
    desk.write(task, "hub_stats/lens", table)
