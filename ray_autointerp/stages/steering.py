"""steering: text generated while each chosen latent is clamped, once per latent.

Every description of the latent is judged on the same texts (methods 7, trap 24).
"""

from collections.abc import Mapping

from ray_autointerp.models.steering import SteeredRow
from ray_autointerp.passes.steered_text import generate_texts, text_seed
from ray_autointerp.plan.units import texts_per_latent
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `completions`: a row per latent, prompt, sign, KL and draw."""
    assert task.sae is not None
    latents = context.tables.chosen(task)
    clamps = _clamps(context, task.sae, latents)
    rows: list[Row] = []
    for latent in latents:
        for text in texts_per_latent(context.run.config):
            clamp = clamps[latent, text.sign, _close(text.kl_target)]
            rows.append(
                {
                    "latent": latent,
                    **text._asdict(),
                    "status": clamp["status"],
                    "clamp_value": clamp["clamp_value"],
                    "kl_reached": clamp["kl_reached"],
                }
            )

    def steered(row: Row) -> SteeredRow:
        return SteeredRow(row["latent"], row["clamp_value"], text_seed(context, "steering", row))

    generate_texts(context, context.sae(task.sae), rows, steered)
    context.write(task, "completions", rows)


def _clamps(
    context: WorkerContext, sae: str, latents: list[int]
) -> Mapping[tuple[int, int, float], Row]:
    rows = context.tables.rows("clamps", sae, latents)
    return {
        (latent, row["sign"], _close(row["kl_target"])): row
        for latent in latents
        for row in rows[latent]
    }


def _close(kl_target: float) -> float:
    """KL targets are float32 in tables; six digits tell them apart."""
    return round(kl_target, 6)
