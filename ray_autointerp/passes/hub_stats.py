"""Hub statistics as a table and back: each token's mean and spread over the latents of an SAE."""

import pyarrow as pa
import torch
from torch import Tensor

from ray_autointerp.methods.token_lists import HubStats
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.tables import Tables


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
