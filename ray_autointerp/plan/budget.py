"""What a run would do and cost, step by step, before anything is done. Pure arithmetic.

Counts are exact where the config fixes them (windows, clamps, requests) and upper bounds where
the data does (alive latents). Tokens through the subject times its layers are the bill of the
subject pool, requests that of the LLM pool.
"""

from dataclasses import dataclass

from ray_autointerp.config import Config
from ray_autointerp.plan.requests import JUDGEMENTS_PER_UNIT, num_requests
from ray_autointerp.plan.shards import Axes, Selected, methods_of, tasks_of
from ray_autointerp.records.flow import FLOW, step_named
from ray_autointerp.records.task import Task

UNITS_PER_THREE_SET = 12
"""Texts of a set in the paper's judgement: 3 prompts x 2 KL targets x 2 signs."""

_SEARCH_PASSES = 25
"""Clamp values tried per latent and sign in calibration: about 13 to bracket, 12 to bisect."""

_PROMPT_TOKENS = 6
"""Tokens of a neutral prompt, about."""


@dataclass(frozen=True)
class Line:
    """One step's share."""

    step: str
    pool: str
    num_tasks: int
    work: str
    """In words, with the numbers that make it up."""
    subject_tokens: int
    """Tokens passed through (part of) the subject."""
    llm_requests: int


def budget(config: Config, axes: Axes, num_layers: int, layer: int) -> list[Line]:
    """One line per step of the flow, for every SAE of the run together.

    `layer` is the hook's, counted from 0: clamped passes run only the layers above it.
    """
    selected = {sae: expected_selection(config, len(r)) for sae, r in axes.latents.items()}
    chosen = num_chosen(config, axes)
    scored, units = len(config.score.methods), config.score.num_units
    evidence, steering = config.evidence, config.steering
    change_tokens = chosen * 2 * evidence.change_windows * evidence.change_window_tokens
    texts = len(texts_per_latent(config))
    calls = _requests("explain", config, 1)
    above = num_layers - layer - 1
    window = evidence.change_window_tokens
    sample = sum(min(config.select.sample, len(r)) for r in axes.latents.values())
    watched = sum(len(r) for r in axes.latents.values())
    judged = evidence.change_windows + evidence.agreement_windows
    hook_points = len(set(axes.hook_points.values()))
    work: dict[str, tuple[str, int]] = {
        "corpus": (f"{config.corpus.num_tokens:,} tokens", 0),
        "max_act": (
            f"{config.corpus.num_tokens:,} tokens to layer {layer}",
            config.corpus.num_tokens,
        ),
        "calibrate": (
            f"{chosen} latents x 2 signs x about {_SEARCH_PASSES} values x {steering.num_prompts} "
            f"prompts, {above} layers",
            chosen * 2 * _SEARCH_PASSES * steering.num_prompts * _PROMPT_TOKENS,
        ),
        "jacobian": (
            f"{hook_points} hook point(s) x {axes.d_model} backward sweeps over "
            f"{evidence.jacobian_windows} windows x {window} tokens, {above} layers",
            hook_points * axes.d_model * evidence.jacobian_windows * window,
        ),
        "free_scores": (
            f"{watched:,} latents x 2 clamps x 1 position, {above} layers",
            watched * 2,
        ),
        "agreement": (
            f"{sample} latents x 2 strengths x {judged} windows x {window} tokens, {above} layers",
            sample * 2 * judged * window,
        ),
        "token_change": (
            f"{chosen} latents x 2 signs x {evidence.change_windows} windows x "
            f"{evidence.change_window_tokens} tokens, {above} layers",
            change_tokens,
        ),
        "explain": (f"{chosen} latents x {calls} calls", 0),
        "write_sentences": (
            f"{chosen} latents x {scored} methods x {config.score.num_draws} answers",
            0,
        ),
        "input_score": (
            f"{chosen} latents x {scored} methods x {config.score.num_draws} x "
            f"{2 * config.score.num_sentences} sentences",
            chosen * scored * config.score.num_draws * 2 * config.score.num_sentences * 20,
        ),
        "steering": (
            f"{chosen} latents x {texts} texts x {steering.new_tokens} tokens",
            chosen * texts * steering.new_tokens,
        ),
        "output_score": (
            f"{chosen} latents x ({scored} methods x {units} units x {JUDGEMENTS_PER_UNIT} "
            f"judgements + {len(config.score.three_set_methods)} three-set)",
            0,
        ),
    }
    lines = []
    for step in FLOW:
        tasks = tasks_of(step, config, axes, selected)
        text, tokens = work.get(step.name, ("", 0))
        requests = _requests(step.name, config, chosen)
        lines.append(Line(step.name, step.pool, len(tasks or ()), text, tokens, requests))
    return lines


def num_chosen(config: Config, axes: Axes) -> int:
    """Latents that LLM steps and exact clamps are spent on, of every SAE together, at most."""
    return sum(expected_selection(config, len(r)).num_chosen for r in axes.latents.values())


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


def _requests(step: str, config: Config, num_latents: int) -> int:
    """Of a step, for every method it has tasks for."""
    return sum(
        num_requests(Task(step, None, method, 0, 1), config, num_latents)
        for method in methods_of(step_named(step), config)
    )


def expected_selection(config: Config, num_latents: int) -> Selected:
    """What the config's rule chooses of so many latents, at most."""
    rule = config.select
    picked = {
        "sample": rule.num_latents,
        "top": rule.num_latents,
        "all": num_latents,
        "list": len(rule.latents),
    }[rule.rule]
    panel, drawn = min(rule.panel, num_latents), max(rule.panel, rule.sample)
    # Sample and panel begin the same hash order; a list or the best latents may lie outside it.
    is_nested = rule.rule in ("sample", "all")
    chosen = max(picked, drawn) if is_nested else picked + drawn
    return Selected(min(chosen, num_latents), panel)
