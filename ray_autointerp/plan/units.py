"""Trials and requests for one latent: the units of the output score, and what an LLM is asked.

A unit shows one text set: a steered text for each prompt of a block of `texts_per_set` prompts,
all of one draw. Set s holds block s mod (number of blocks) in draw s // (number of blocks), so
sets differ in their prompts as long as those last, and then in their draws.

The counts of requests are upper bounds: of a latent without evidence, or without a description,
less is asked.
"""

from typing import Literal, NamedTuple

from ray_autointerp.config import Config
from ray_autointerp.methods.panel_draw import Unit
from ray_autointerp.plan.controls import is_control, method_of
from ray_autointerp.plan.evidence import can_be_label, explainer_of
from ray_autointerp.prompts.sentences import ACTIVATING, BOTH

JUDGEMENTS_PER_UNIT = 4
"""Requests behind one two-set trial: own and stranger's description, each in both orders, or, by
likelihood, before each set.
"""

PAPER_PROMPTS = 3
PAPER_KL_TARGETS = (0.25, 0.5)
"""Of the paper's three-set judgement, in nats; independent of `steering.kl_targets`."""


class Text(NamedTuple):
    """One steered text of a latent: the rest of its key in `completions`."""

    prompt: int
    sign: int
    kl_target: float
    draw: int


def kl_targets(config: Config) -> list[float]:
    """The KL targets that latents are calibrated to: steering's, and the paper's where asked."""
    paper = PAPER_KL_TARGETS if config.score.three_set_methods else ()
    return sorted({*config.steering.kl_targets, *paper})


def texts_per_latent(config: Config) -> list[Text]:
    """The steered texts each latent needs, sorted."""
    wanted = {text for unit in all_units(config) for text in texts_of(unit, config)}
    if config.score.three_set_methods:
        wanted |= set(three_set_texts())
    return sorted(wanted)


def published_units(config: Config) -> list[Unit]:
    """The `num_units` trials of the two-set score, of raised latents."""
    return _units(range(config.score.num_units), config)


def control_units(config: Config) -> list[Unit]:
    """The published trials that are repeated with control texts: the first ones."""
    return published_units(config)[: config.score.num_control_units]


def two_set_units(method: str, config: Config) -> list[tuple[bool, Unit]]:
    """Trials on steered text, as (whether it is a choosing one, unit): the published ones first."""
    choosing = _choosing_units(config) if _is_chosen_among(method, config) else []
    return [
        *((False, unit) for unit in published_units(config)),
        *((True, unit) for unit in choosing),
    ]


def all_units(config: Config) -> list[Unit]:
    """The trials of any method: what a latent's steered texts are made for."""
    return published_units(config) + _choosing_units(config)


def _choosing_units(config: Config) -> list[Unit]:
    published = config.score.num_units
    choosing = config.score.num_choosing_units if config.describe.label_by == "trials" else 0
    return _units(range(published, published + choosing), config)


def _units(numbers: range, config: Config) -> list[Unit]:
    """Each has a text set of its own: other prompts first, then other targets (the highest first),
    then other draws.
    """
    targets = sorted(config.steering.kl_targets, reverse=True)
    blocks = _num_blocks(config)
    units = []
    for number in numbers:
        rest, block = divmod(number, blocks)
        draw, target = divmod(rest, len(targets))
        units.append(Unit(draw * blocks + block, 1, targets[target]))
    return units


def texts_of(unit: Unit, config: Config) -> list[Text]:
    """The texts of a unit's set, in the order of their prompts."""
    draw, block = divmod(unit.text_set, _num_blocks(config))
    size = config.score.texts_per_set
    return [Text(block * size + i, unit.sign, unit.kl_target, draw) for i in range(size)]


def control_texts_per_latent(config: Config) -> list[Text]:
    """The control texts of each kind that a latent of the control sample needs, sorted."""
    return sorted({text for unit in control_units(config) for text in texts_of(unit, config)})


def three_set_texts() -> list[Text]:
    """The paper's set: 3 prompts x both signs x both of its KL targets, one draw (12 texts)."""
    return [
        Text(prompt, sign, target, 0)
        for prompt in range(PAPER_PROMPTS)
        for sign in (1, -1)
        for target in PAPER_KL_TARGETS
    ]


def unseen_trials(method: str, config: Config) -> list[tuple[bool, int]]:
    """Trials on unseen tokens, as (whether it is a choosing one, number), sorted."""
    published = config.score.num_unseen_trials
    is_chosen_among = published and _is_chosen_among(method, config)
    choosing = config.score.num_choosing_trials if is_chosen_among else 0
    return [*((False, n) for n in range(published)), *((True, n) for n in range(choosing))]


def surprisal_units(config: Config) -> list[Unit]:
    """The trials of intervention surprisal: the first of the published ones."""
    return _units(range(config.score.num_surprisal_trials), config)


def unsteered_keys(config: Config) -> list[tuple[int, int]]:
    """Prompt and draw of each text without steering that those need, sorted."""
    units = surprisal_units(config)
    return sorted({(text.prompt, text.draw) for unit in units for text in texts_of(unit, config)})


def explain_requests(method: str, _: Config) -> int:
    """Requests behind one description."""
    explainer = explainer_of(method)
    return len(explainer.parts) or int(explainer.text is not None)


def sentence_text(config: Config) -> str:
    """The prompt text of the sentence writer."""
    return BOTH if config.score.neutral_sentences == "written" else ACTIVATING


def sentence_requests(method: str, config: Config) -> int:
    """Answers of the sentence writer about one description: those that are published first, then
    those that choose.
    """
    score = config.score
    choosing = score.num_choosing_draws if _is_chosen_among(method, config) else 0
    return score.num_draws + choosing


def detection_requests(_: str, config: Config) -> int:
    """Requests behind the detection score of one description."""
    texts = 2 * config.score.detection_texts + config.score.detection_near_misses
    return texts * _requests_per_text(config)


def fuzzing_requests(_: str, config: Config) -> int:
    """Requests behind the fuzzing score of one description."""
    return 2 * config.score.fuzzing_texts * _requests_per_text(config)


def judge_requests(method: str, config: Config) -> int:
    """Requests behind the output score of one description."""
    asks_three = method_of(method) in config.score.three_set_methods
    return len(two_set_units(method, config)) * JUDGEMENTS_PER_UNIT + int(asks_three)


def control_requests(method: str, config: Config) -> int:
    """Requests behind the trials of one description with control texts: a control has none."""
    kinds = () if is_control(method) else config.score.control_texts
    return len(kinds) * len(control_units(config)) * JUDGEMENTS_PER_UNIT


def surprisal_requests(_: str, config: Config) -> int:
    """Requests behind the intervention surprisal of one description: each trial has two sets."""
    return 2 * config.score.num_surprisal_trials


def unseen_requests(method: str, config: Config) -> int:
    """Requests behind the trials of one description on unseen tokens."""
    return len(unseen_trials(method, config)) * JUDGEMENTS_PER_UNIT


def known_answer_requests(_: str, config: Config) -> int:
    """Requests behind the check of a judge by one kind of question: one in each order, or by the
    likelihoods of two texts.
    """
    return 2 * _requests_per_text(config)


def judged_as(_: str, config: Config) -> Literal["choice", "loglikelihood"]:
    """The form of a judge's answers."""
    return "choice" if config.score.judged_by == "choice" else "loglikelihood"


def _requests_per_text(config: Config) -> int:
    """By likelihood a text is read with the description and without."""
    return 1 if config.score.judged_by == "choice" else 2


def _is_chosen_among(method: str, config: Config) -> bool:
    """Whether the method's descriptions have choosing trials."""
    return config.describe.label_by == "trials" and can_be_label(method)


def _num_blocks(config: Config) -> int:
    """Blocks of `texts_per_set` prompts; prompts that fill no block are calibrated on alone."""
    return config.steering.num_prompts // config.score.texts_per_set
