"""calibrate: how far each chosen latent must be clamped to move the model by each KL target.

KL(clean || clamped) of the next token at the last position of the neutral prompts, mean over
them, per sign; the same search for every latent, so that target and partner are treated alike
(methods 16). What is not reached up to the ceiling is a row with that status.
"""

import numpy as np
import numpy.typing as npt
import torch

from ray_autointerp.methods.steering import Curve, KLSearch
from ray_autointerp.models.clamped_pass import CleanRun, clean_run, prompt_kl
from ray_autointerp.models.sae import Sae
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.neutral_prompts import neutral_prompt_ids
from ray_autointerp.stages.reference_activations import reference_activations


def run(task: Task, desk: Desk) -> None:
    """Write one selection shard of `clamps`: a row per latent, sign and KL target."""
    assert task.sae is not None
    latents = desk.chosen(task)
    sae = desk.sae(task.sae)
    scale = reference_activations(desk, task.sae)
    curves = [Curve(latent, sign, scale[latent]) for latent in latents for sign in (1, -1)]
    search = KLSearch(curves, desk.run.config.steering.kl_targets)
    prompts = [
        clean_run(desk.subject, sae, latents, torch.tensor([ids]))
        for ids in neutral_prompt_ids(desk)
    ]
    everywhere: dict[tuple[int, float], float] = {}
    while len((asked := search.next_values()).curves_N):
        last_N, all_N = _mean_kl(
            desk, sae, prompts, [curves[c].latent for c in asked.curves_N], asked.clamp_values_N
        )
        for curve, value, kl in zip(asked.curves_N, asked.clamp_values_N, all_N, strict=True):
            everywhere[int(curve), float(value)] = float(kl)
        search.observe(last_N)
    index = {(curve.latent, curve.sign): i for i, curve in enumerate(curves)}
    desk.write(
        task,
        "clamps",
        [
            {
                "latent": found.latent,
                "sign": found.sign,
                "kl_target": found.kl_target,
                "status": "ok" if found.is_reached else "kl_unreached",
                "clamp_value": found.clamp_value,
                "kl_reached": found.kl_reached,
                "kl_all_positions": None
                if found.clamp_value is None
                else everywhere[index[found.latent, found.sign], found.clamp_value],
                "reference_activation": found.start_activation,
            }
            for found in search.result()
        ],
    )


def _mean_kl(
    desk: Desk,
    sae: Sae,
    prompts: list[CleanRun],
    latents: list[int],
    values_N: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean over prompts of the KL at the last position, and at all positions."""
    size = desk.run.config.operations.micro_batch
    last_N, all_N = np.zeros(len(latents)), np.zeros(len(latents))
    for start in range(0, len(latents), size):
        rows = slice(start, start + size)
        values_B = torch.tensor(values_N[rows], dtype=torch.float32, device=desk.subject.device)
        for clean in prompts:
            kl = prompt_kl(desk.subject, sae, clean, latents[rows], values_B)
            last_N[rows] += kl.last_B.cpu().numpy() / len(prompts)
            all_N[rows] += kl.all_positions_B.cpu().numpy() / len(prompts)
    return last_N, all_N
