"""unsteered_texts: text generated without steering, on the prompts of the steered texts.

What intervention surprisal compares a latent's steered texts with. One text for each prompt and
draw, for all latents: so the descriptions of all meet the same ones, and the mean of a score over
that of shuffled descriptions does not depend on which these are.
"""

from ray_autointerp.models.steering import SteeredRow
from ray_autointerp.passes.steered_text import generate_texts
from ray_autointerp.plan.units import unsteered_keys
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


def run(task: Task, context: WorkerContext) -> None:
    """Write `unsteered_texts`: a row per prompt and draw."""
    assert task.sae is not None
    config = context.run.config
    rows: list[Row] = [
        {"prompt": prompt, "draw": draw, "status": "ok"} for prompt, draw in unsteered_keys(config)
    ]

    def unsteered(row: Row) -> SteeredRow:
        return SteeredRow(
            None, 0.0, derive_seed(config.run.seed, task.step, row["prompt"], row["draw"])
        )

    generate_texts(context, context.sae(task.sae), rows, unsteered)
    context.write(task, "unsteered_texts", rows)
