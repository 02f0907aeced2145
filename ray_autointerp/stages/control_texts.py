"""control_texts: texts that no latent made, on the prompts and draws of the steered ones.

For each latent of the control sample, texts that replace its own in trials (methods 16). Of
`random_direction`: while a seeded random direction of its decoder row's norm is added to the
residual stream, so many times that the model moves by the same KL, by the same search. Of
`unsteered`: with nothing added.
"""

from collections.abc import Mapping, Sequence

from ray_autointerp.methods.random_direction import random_directions
from ray_autointerp.methods.steering import Calibration, Curve
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.silent_sae import silent_sae
from ray_autointerp.models.steering import SteeredRow
from ray_autointerp.passes.clamp_search import neutral_runs, search_clamps
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.passes.steered_text import generate_texts, text_seed
from ray_autointerp.plan.controls import RANDOM_DIRECTION
from ray_autointerp.plan.units import control_texts_per_latent
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


def run(task: Task, context: WorkerContext) -> None:
    """Write one shard of `control_texts/<kind>`: a row per latent, prompt, sign, KL and draw."""
    assert task.sae is not None and task.method is not None
    kind, latents = task.method, context.tables.chosen(task)
    texts = control_texts_per_latent(context.run.config)
    rows: list[Row] = [
        {"latent": latent, **text._asdict(), "status": "ok"} for latent in latents for text in texts
    ]
    sae, place = context.sae(task.sae), None
    if kind == RANDOM_DIRECTION:
        sae = _directions(context, sae, latents)
        place = {latent: i for i, latent in enumerate(latents)}
        clamps = _clamps(context, task.sae, sae, latents, sorted({t.kl_target for t in texts}))
        for row in rows:
            found = clamps[row["latent"], row["kl_target"]]
            row["status"] = "ok" if found.is_reached else "kl_unreached"
            row |= {"clamp_value": found.clamp_value, "kl_reached": found.kl_reached}

    def steered(row: Row) -> SteeredRow:
        seed = text_seed(context, kind, row)
        if place is None:
            return SteeredRow(None, 0.0, seed)
        return SteeredRow(place[row["latent"]], row["clamp_value"], seed)

    generate_texts(context, sae, rows, steered)
    context.write(task, "control_texts", rows)


def _directions(context: WorkerContext, sae: Sae, latents: Sequence[int]) -> Sae:
    """A random direction for each latent, in their order."""
    seed = context.run.config.run.seed
    seeds = [derive_seed(seed, RANDOM_DIRECTION, latent) for latent in latents]
    return silent_sae(random_directions(sae.W_dec_LD[list(latents)], seeds), sae.hook_point)


def _clamps(
    context: WorkerContext,
    sae_id: str,
    directions: Sae,
    latents: Sequence[int],
    kl_targets: Sequence[float],
) -> Mapping[tuple[int, float], Calibration]:
    """By latent and target; the search starts from the latent's own activation."""
    scale = reference_activations(context.tables, sae_id)
    curves = [Curve(i, 1, scale[latent]) for i, latent in enumerate(latents)]
    prompts = neutral_runs(context, directions, range(len(latents)))
    found = search_clamps(context, directions, prompts, curves, kl_targets)
    return {(latents[one.latent], one.kl_target): one for one in found}
