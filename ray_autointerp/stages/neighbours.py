"""neighbours: the decoder-nearest latents of every latent, among the whole dictionary."""

import torch

from ray_autointerp.methods.neighbours import nearest_neighbours
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk


def run(task: Task, desk: Desk) -> None:
    """Write one latent shard of `neighbours`."""
    assert task.sae is not None
    latents = desk.latents(task)
    W_dec_LD = desk.sae(task.sae).W_dec_LD
    nearest = nearest_neighbours(
        W_dec_LD,
        torch.arange(latents.start, latents.stop, device=W_dec_LD.device),
        desk.run.config.evidence.num_neighbours,
    )
    ids, cosines = nearest.latents_QK.tolist(), nearest.cosines_QK.tolist()
    desk.write(
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
