"""How many questions a task puts to a language model, if every latent has its evidence."""

from ray_autointerp.config import Config
from ray_autointerp.records.flow import EVIDENCE
from ray_autointerp.records.task import Task

CONCAT_PARTS = len(EVIDENCE["ensemble_concat"])
"""Requests behind one Ensemble Concat description: one for each kind of evidence it joins."""

JUDGEMENTS_PER_UNIT = 4
"""Requests behind one two-set trial: own and stranger's description, each in both orders."""


def num_requests(task: Task, config: Config, num_latents: int) -> int:
    """Requests of a task over `num_latents` chosen latents; 0 where no LLM is asked.

    An upper bound: of a latent without evidence, or without a description, less is asked.
    """
    return num_latents * _per_latent(task.step, task.method, config)


def _per_latent(step: str, method: str | None, config: Config) -> int:
    match step:
        case "explain":
            return CONCAT_PARTS if method == "ensemble_concat" else 1
        case "write_sentences":
            return config.score.num_draws
        case "output_score":
            asks_three = method in config.score.three_set_methods
            return config.score.num_units * JUDGEMENTS_PER_UNIT + int(asks_three)
    return 0
