"""Trials and requests for one latent: the units of the output score, and what an LLM is asked.

The counts of requests are upper bounds: of a latent without evidence, or without a description,
less is asked.
"""

from ray_autointerp.config import Config
from ray_autointerp.plan.evidence import EXPLAINERS

JUDGEMENTS_PER_UNIT = 4
"""Requests behind one two-set trial: own and stranger's description, each in both orders."""

UNITS_PER_THREE_SET = 12
"""Texts of a set in the paper's judgement: 3 prompts x 2 KL targets x 2 signs."""


def texts_per_latent(config: Config) -> list[tuple[int, int, float, int]]:
    """The steered texts each latent needs, as (prompt, sign, KL target, draw), sorted.

    The units of the two-set score are raised latents over prompts, at the highest KL target
    first; the paper's three-set judgement wants both signs and all targets on its 3 prompts.
    """
    wanted = set(two_set_units(config))
    if config.score.three_set_methods:
        wanted |= set(three_set_texts(config))
    return sorted(wanted)


def two_set_units(config: Config) -> list[tuple[int, int, float, int]]:
    """The `num_units` trials of the two-set score: prompts first, then targets, then draws."""
    targets = sorted(config.steering.kl_targets, reverse=True)
    prompts = config.steering.num_prompts
    units = []
    for index in range(config.score.num_units):
        rest, prompt = divmod(index, prompts)
        draw, target = divmod(rest, len(targets))
        units.append((prompt, 1, targets[target], draw))
    return units


def three_set_texts(config: Config) -> list[tuple[int, int, float, int]]:
    """The paper's set: 3 prompts x both signs x every KL target, one draw (12 texts)."""
    return [
        (prompt, sign, target, 0)
        for prompt in range(3)
        for sign in (1, -1)
        for target in config.steering.kl_targets
    ]


def explain_requests(method: str, _: Config) -> int:
    """Requests behind one description."""
    explainer = EXPLAINERS[method]
    return len(explainer.parts) or int(explainer.text is not None)


def sentence_requests(_: str, config: Config) -> int:
    """Requests behind the sentences of one description."""
    return config.score.num_draws


def judge_requests(method: str, config: Config) -> int:
    """Requests behind the output score of one description."""
    asks_three = method in config.score.three_set_methods
    return config.score.num_units * JUDGEMENTS_PER_UNIT + int(asks_three)
