"""The neutral prompts as the subject reads them, for calibration and steering alike.

BOS always comes first: without it the first word would be the attention sink, which is never
clamped, and a prompt of one word could not be steered at all.
"""

from ray_autointerp.prompts.neutral import NEUTRAL_PROMPTS
from ray_autointerp.runs.context import WorkerContext


def neutral_prompt_ids(context: WorkerContext) -> list[list[int]]:
    """Token ids of the run's neutral prompts, in order."""
    tokenizer = context.tokenizer
    prefix = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    count = context.run.config.steering.num_prompts
    return [prefix + tokenizer.encode(text) for text in NEUTRAL_PROMPTS[:count]]
