"""What each latent reads, as a row that is compared with token embeddings."""

import pyarrow.compute as pc
import torch
from torch import Tensor

from ray_autointerp.runs.context import WorkerContext


def read_rows(context: WorkerContext, sae_id: str, latents: slice) -> Tensor:
    """Encoder columns [L, D] of some latents, sent back to the embeddings by the input map;
    as they are where the config wants no such map.
    """
    columns_LK = context.sae(sae_id).W_enc_DL.T[latents]
    if not context.run.config.evidence.input_windows:
        return columns_LK
    tables = context.tables

    def read() -> Tensor:
        rows = tables.read("input_map", tables.run.axes.read_points[sae_id])
        flat = torch.tensor(pc.list_flatten(rows["row"]).to_numpy())
        return flat.reshape(len(rows), -1).to(columns_LK.device)

    map_KD = tables.kept(("input_map", tables.run.axes.read_points[sae_id]), read)
    return columns_LK.to(map_KD) @ map_KD
