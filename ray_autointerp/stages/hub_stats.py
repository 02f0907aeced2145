"""hub_stats: each token's mean and spread of projected logits over all latents of an SAE.

One table per map from latents to the vocabulary. Closed form over the whole dictionary (methods
9.9), also when a run labels only a range of it; through the Jacobian, where each latent counts at
its own maximum, over the range.
"""

import pyarrow as pa
import torch
from torch import Tensor

from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.jacobian import linear_change
from ray_autointerp.methods.token_lists import HubStats
from ray_autointerp.methods.vocab_proj import apply_norm
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.jacobian import jacobian_of
from ray_autointerp.stages.reference_activations import reference_activations
from ray_autointerp.stages.tables import Tables


def run(task: Task, desk: Desk) -> None:
    """Write `hub_stats/<map>` of one SAE: a row per token."""
    assert task.sae is not None
    subject, sae = desk.subject, desk.sae(task.sae)
    if task.method == "lens":
        rows_LD = apply_norm(sae.W_dec_LD, subject.final_norm)
        stats = hub_stats(rows_LD, subject.W_U_DV, subject.b_U_V)
    elif task.method == "reads":
        stats = hub_stats(sae.W_enc_DL.T, subject.W_E_VD.T)
    else:
        whole, device = desk.run.axes.latents[task.sae], sae.W_dec_LD.device
        scale_L1 = reference_scale(desk, task.sae, device)[:, None]
        moved_LD = sae.W_dec_LD[whole.start : whole.stop] * scale_L1
        mean_DD = jacobian_of(desk, task.sae, device).mean_DD
        stats = hub_stats(linear_change(moved_LD, mean_DD), subject.W_U_DV)
    desk.write(task, "hub_stats", hub_table(stats))


def hub_table(stats: HubStats) -> pa.Table:
    """The statistics as a table, a row per token."""
    return pa.table(
        {
            "token": range(len(stats.mean_V)),
            "mean": stats.mean_V.cpu().numpy(),
            "sd": stats.sd_V.cpu().numpy(),
        },
        schema=TABLES["hub_stats"].schema,
    )


def read_hub_stats(tables: Tables, sae: str, name: str) -> HubStats:
    """The statistics of one map; `exact` ones were measured on the sample."""
    if name == "exact":
        table = tables.read("hub_stats/exact", sae)
    else:
        table = tables.read("hub_stats", sae, name)
    mean, sd = (table[column].to_numpy(zero_copy_only=False).copy() for column in ("mean", "sd"))
    return HubStats(torch.from_numpy(mean), torch.from_numpy(sd))


def reference_scale(tables: Tables, sae: str, device: torch.device) -> Tensor:
    """The activation that scales each latent of the run's range, [L]."""
    return torch.tensor(list(reference_activations(tables, sae).values()), device=device)
