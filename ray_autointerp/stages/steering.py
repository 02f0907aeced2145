"""steering: text generated while each chosen latent is clamped, once per latent.

Every description of the latent is judged on the same texts (methods 7, trap 24). Rows of one
prompt go together; noise is by counter, so a text does not depend on its batch.
"""

import itertools
from collections.abc import Mapping

from ray_autointerp.models.steering import SteeredRow, steer
from ray_autointerp.passes.neutral_prompts import neutral_prompt_ids
from ray_autointerp.plan.units import texts_per_latent
from ray_autointerp.records.keys import derive_seed
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
    prompts = neutral_prompt_ids(context)
    for prompt, prompt_ids in enumerate(prompts):
        mine = [row for row in rows if row["prompt"] == prompt and row["status"] == "ok"]
        _generate(context, task.sae, prompt_ids, mine)
    context.write(task, "completions", rows)


def _generate(context: WorkerContext, sae_id: str, prompt_ids: list[int], rows: list[Row]) -> None:
    """Fill in the texts of rows that share a prompt."""
    steering, size = context.run.config.steering, context.run.config.operations.micro_batch
    bos = 0 if context.tokenizer.bos_id is None else 1

    def generated(part: slice) -> list[list[int]]:
        return steer(
            context.subject,
            context.sae(sae_id),
            prompt_ids,
            [SteeredRow(r["latent"], r["clamp_value"], _seed(r, context)) for r in rows[part]],
            steering.new_tokens,
            steering.temperature,
        )

    texts = itertools.chain.from_iterable(context.subject.halving.run(len(rows), size, generated))
    for row, token_ids in zip(rows, texts, strict=True):
        row["prompt_text"] = context.tokenizer.decode(prompt_ids[bos:])
        row["token_ids"] = token_ids
        row["text"] = context.tokenizer.decode(prompt_ids[bos:] + token_ids)


def _seed(row: Row, context: WorkerContext) -> int:
    strength = f"{row['kl_target']:.6g}"
    return derive_seed(
        context.run.config.run.seed,
        "steering",
        row["latent"],
        row["prompt"],
        row["sign"],
        strength,
        row["draw"],
    )


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
