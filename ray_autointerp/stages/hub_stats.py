"""hub_stats: each token's mean and spread of projected logits over all latents of an SAE.

One table per map from decoder rows to the vocabulary. Closed form over the whole dictionary
(methods 9.9), also when a run labels only a range of it.
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
    subject, decoder_LD = desk.subject, desk.sae(task.sae).W_dec_LD
    if task.method == "lens":
        x_LD, bias_V = apply_norm(decoder_LD, subject.final_norm), subject.b_U_V
    else:
        jacobian = jacobian_of(desk, task.sae, decoder_LD.device)
        scale_L1 = reference_scale(desk, task.sae, decoder_LD.device)[:, None]
        whole = desk.run.axes.latents[task.sae]
        moved_LD = decoder_LD[whole.start : whole.stop] * scale_L1
        x_LD, bias_V = linear_change(moved_LD, jacobian.mean_DD), None
    stats = hub_stats(x_LD, subject.W_U_DV, bias_V)
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
