"""neighbours: the decoder-nearest latents of every latent, among the whole dictionary."""

import torch

from ray_autointerp.methods.neighbours import nearest_neighbours
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `neighbours`."""
    assert task.sae is not None
    latents = context.tables.latents(task)
    W_dec_LZ = context.sae(task.sae).W_dec_LZ
    nearest = nearest_neighbours(
        W_dec_LZ,
        torch.arange(latents.start, latents.stop, device=W_dec_LZ.device),
        context.run.config.evidence.num_neighbours,
    )
    ids, cosines = nearest.latents_QK.tolist(), nearest.cosines_QK.tolist()
    context.write(
        task,
        "neighbours",
        [
            {
                "latent": latent,
                "status": "ok",
                "neighbours": [
                    {"latent": other, "cosine": cosine}
                    for other, cosine in zip(ids[i], cosines[i], strict=True)
                ],
            }
            for i, latent in enumerate(latents)
        ],
    )
