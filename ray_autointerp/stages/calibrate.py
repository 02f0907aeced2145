"""calibrate: how far each chosen latent must be clamped to move the model by each KL target.

KL(clean || clamped) of the next token at the last position of the neutral prompts, mean over
them, per sign; the same search for every latent, so that target and partner are treated alike
(methods 16). What is not reached up to the ceiling is a row with that status.
"""

import numpy as np

from ray_autointerp.methods.steering import Curve
from ray_autointerp.models.clamped_pass import all_positions_kl
from ray_autointerp.passes.clamp_search import mean_kl, neutral_runs, search_clamps
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
    prompts = neutral_runs(context, sae, latents)
    outcomes = search_clamps(context, sae, prompts, curves, kl_targets(context.run.config))
    reached = [found for found in outcomes if found.clamp_value is not None]
    everywhere = mean_kl(
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
