"""control_texts: texts that the latent did not make, on the prompts and draws of its steered ones.

For each latent of the control sample, texts that replace one side of a trial (methods 16). Of
`random_direction`: while a seeded random direction of its decoder row's norm is added to the
residual stream (one at each place that the latent writes to), so many times that the model moves by
the same KL, by the same search. Of `unsteered`: with nothing added. Of `neighbour`: while the
latent with the most similar decoder row is clamped, to the same KL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ray_autointerp.methods.random_direction import random_directions
from ray_autointerp.methods.steering import Calibration, Curve
from ray_autointerp.models.direction_sae import direction_sae
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.steering import SteeredRow
from ray_autointerp.passes.clamp_search import neutral_runs, search_clamps
from ray_autointerp.passes.nearest import nearest
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.passes.steered_text import generate_texts, text_seed
from ray_autointerp.plan.controls import NEIGHBOUR, RANDOM_DIRECTION, UNSTEERED
from ray_autointerp.plan.units import control_texts_per_latent
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


@dataclass(frozen=True)
class _Clamped:
    """What is clamped instead of the latents of the control sample."""

    sae: Sae
    by_latent: dict[int, int]
    """Of each latent of the sample, the latent of `sae` that is clamped in its place."""
    starts: Mapping[int, float]
    """Of each latent of `sae` that is clamped, the activation from which the search begins."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one shard of `control_texts/<kind>`: a row per latent, prompt, sign, KL and draw."""
    assert task.sae is not None and task.method is not None
    kind, latents = task.method, context.tables.chosen(task)
    texts = control_texts_per_latent(context.run.config)
    rows: list[Row] = [
        {"latent": latent, **text._asdict(), "status": "ok"} for latent in latents for text in texts
    ]
    sae, by_latent = context.sae(task.sae), dict[int, int]()
    if kind != UNSTEERED:
        clamped = _CLAMPED[kind](context, task.sae, latents)
        sae, by_latent = clamped.sae, clamped.by_latent
        found = _clamps(context, clamped, sorted({text.kl_target for text in texts}))
        for row in rows:
            clamp = found[by_latent[row["latent"]], row["kl_target"]]
            row["status"] = "ok" if clamp.is_reached else "kl_unreached"
            row |= {"clamp_value": clamp.clamp_value, "kl_reached": clamp.kl_reached}

    def steered(row: Row) -> SteeredRow:
        seed = text_seed(context, kind, row)
        return SteeredRow(by_latent.get(row["latent"]), row.get("clamp_value", 0.0), seed)

    generate_texts(context, sae, rows, steered)
    context.write(task, "control_texts", rows)


def _directions(context: WorkerContext, sae_id: str, latents: Sequence[int]) -> _Clamped:
    """A random direction for each latent; the search starts from the latent's own activation."""
    seed, sae = context.run.config.run.seed, context.sae(sae_id)
    seeds = [derive_seed(seed, RANDOM_DIRECTION, latent) for latent in latents]
    write_points = context.run.axes.write_points(sae_id)
    rows_LSD = sae.written_LX[list(latents)].reshape(len(latents), len(write_points), -1)
    directions_LSD = random_directions(rows_LSD.to(sae.W_dec_LD.dtype), seeds)
    scale = reference_activations(context.tables, sae_id)
    return _Clamped(
        direction_sae(directions_LSD, write_points),
        {latent: i for i, latent in enumerate(latents)},
        {i: scale[latent] for i, latent in enumerate(latents)},
    )


def _neighbours(context: WorkerContext, sae_id: str, latents: Sequence[int]) -> _Clamped:
    """The latent with the most similar decoder row, for each."""
    found = nearest(context.tables, sae_id, latents)
    clamped = {latent: near.latent for latent, near in found.items()}
    scale = reference_activations(context.tables, sae_id)
    other = median(scale.values())  # of a latent outside the run's range
    starts = {near: scale.get(near, other) for near in sorted({*clamped.values()})}
    return _Clamped(context.sae(sae_id), clamped, starts)


_CLAMPED = {RANDOM_DIRECTION: _directions, NEIGHBOUR: _neighbours}


def _clamps(
    context: WorkerContext, clamped: _Clamped, kl_targets: Sequence[float]
) -> Mapping[tuple[int, float], Calibration]:
    """By latent of `clamped.sae` and target."""
    curves = [Curve(latent, 1, start) for latent, start in clamped.starts.items()]
    prompts = neutral_runs(context, clamped.sae, list(clamped.starts))
    found = search_clamps(context, clamped.sae, prompts, curves, kl_targets)
    return {(one.latent, one.kl_target): one for one in found}
