"""Text generated on the neutral prompts, steered or not, filled into the rows of a table.

Rows of one prompt go together; noise is by counter, so a text does not depend on its batch.
"""

import itertools
from collections.abc import Callable, Sequence

from ray_autointerp.models.sae import Sae
from ray_autointerp.models.steering import SteeredRow, steer
from ray_autointerp.passes.neutral_prompts import neutral_prompt_ids
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


def generate_texts(
    context: WorkerContext, sae: Sae, rows: Sequence[Row], steered: Callable[[Row], SteeredRow]
) -> None:
    """Fill in prompt_text, token_ids and text of the rows that are `ok`, as `steered` says."""
    steering, size = context.run.config.steering, context.run.config.operations.micro_batch
    bos = 0 if context.tokenizer.bos_id is None else 1
    for prompt, prompt_ids in enumerate(neutral_prompt_ids(context)):
        mine = [row for row in rows if row["prompt"] == prompt and row["status"] == "ok"]

        def generated(
            part: slice, prompt_ids: list[int] = prompt_ids, mine: list[Row] = mine
        ) -> list[list[int]]:
            return steer(
                context.subject,
                sae,
                prompt_ids,
                [steered(row) for row in mine[part]],
                steering.new_tokens,
                steering.temperature,
            )

        parts = context.subject.halving.run(len(mine), size, generated)
        for row, token_ids in zip(mine, itertools.chain.from_iterable(parts), strict=True):
            row["prompt_text"] = context.tokenizer.decode(prompt_ids[bos:])
            row["token_ids"] = token_ids
            row["text"] = context.tokenizer.decode(prompt_ids[bos:] + token_ids)


def text_seed(context: WorkerContext, purpose: str, row: Row) -> int:
    """The seed of a row's sampling noise."""
    strength = f"{row['kl_target']:.6g}"
    return derive_seed(
        context.run.config.run.seed,
        purpose,
        row["latent"],
        row["prompt"],
        row["sign"],
        strength,
        row["draw"],
    )
