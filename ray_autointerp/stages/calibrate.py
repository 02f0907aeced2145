"""calibrate: how far each chosen latent must be clamped to move the model by each KL target.

KL(clean || clamped) of the next token at the last position of the neutral prompts, mean over
them, per sign; the same search for every latent, so that target and partner are treated alike
(methods 16). What is not reached up to the ceiling is a row with that status.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from ray_autointerp.methods.steering import Curve, KLSearch
from ray_autointerp.models.clamped_pass import (
    CleanRun,
    all_positions_kl,
    clean_run,
    next_token_kl,
)
from ray_autointerp.models.sae import Sae
from ray_autointerp.passes.neutral_prompts import neutral_prompt_ids
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.plan.units import kl_targets
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `clamps`: a row per latent, sign and KL target."""
    assert task.sae is not None
    latents = context.tables.chosen(task)
    sae = context.sae(task.sae)
    scale = reference_activations(context.tables, task.sae)
    curves = [Curve(latent, sign, scale[latent]) for latent in latents for sign in (1, -1)]
    search = KLSearch(curves, kl_targets(context.run.config))
    prompts = [
        clean_run(context.subject, sae, latents, torch.tensor([ids]))
        for ids in neutral_prompt_ids(context)
    ]
    while len((asked := search.next_values()).curves_N):
        tried = [curves[c].latent for c in asked.curves_N]
        search.observe(_mean_kl(next_token_kl, context, sae, prompts, tried, asked.clamp_values_N))
    outcomes = search.result()
    reached = [found for found in outcomes if found.clamp_value is not None]
    everywhere = _mean_kl(
        all_positions_kl,
        context,
        sae,
        prompts,
        [found.latent for found in reached],
        np.array([found.clamp_value for found in reached], np.float64),
    )
    kl_all_positions = dict(zip(reached, everywhere.tolist(), strict=True))
    context.write(
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
                "kl_all_positions": kl_all_positions.get(found),
                "reference_activation": found.start_activation,
            }
            for found in outcomes
        ],
    )


def _mean_kl(
    measure: Callable[..., torch.Tensor],
    context: WorkerContext,
    sae: Sae,
    prompts: list[CleanRun],
    latents: list[int],
    values_N: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Mean over prompts of one KL, per latent and clamp value, `micro_batch` rows at a time."""

    def mean(rows: slice) -> npt.NDArray[np.float64]:
        values_B = torch.tensor(values_N[rows], dtype=torch.float32, device=context.subject.device)
        kl_B = np.zeros(len(values_B))
        for clean in prompts:
            found_B = measure(context.subject, sae, clean, latents[rows], values_B)
            kl_B += found_B.cpu().numpy() / len(prompts)
        return kl_B

    size = context.run.config.operations.micro_batch
    parts = context.subject.halving.run(len(latents), size, mean)
    return np.concatenate([np.zeros(0), *parts])
