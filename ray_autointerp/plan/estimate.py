"""What a run would do and cost, step by step, before anything is done. Pure arithmetic.

Tokens through the subject times its layers are the bill of the subject pool, requests that of the
LLM pool.
"""

from dataclasses import dataclass

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import is_control
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.shards import Axes, Selected, methods_of, tasks_of
from ray_autointerp.plan.sizes import Sizes, Work
from ray_autointerp.plan.step import Step
from ray_autointerp.records.task import Task


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


def estimate(config: Config, axes: Axes, num_layers: int, layer: int) -> list[Line]:
    """One line per step of the flow, for every SAE of the run together.

    `layer` is the hook's, counted from 0: clamped passes run only the layers above it.
    """
    selected = {sae: expected_selection(config, len(r)) for sae, r in axes.latents.items()}
    chosen = num_described(None, config, axes)
    sizes = Sizes(
        config,
        chosen,
        dead=_most_dead(config, chosen, len(axes.latents)),
        controls=sum(s.num_controls for s in selected.values()),
        watched=sum(len(r) for r in axes.latents.values()),
        sample=sum(min(config.select.sample, len(r)) for r in axes.latents.values()),
        hook_points=len(axes.all_write_points()),
        d_model=axes.d_model,
        read_points=len(set(axes.read_points.values())),
        layer=layer,
        above=num_layers - layer - 1,
    )
    lines = []
    for step in FLOW:
        tasks = tasks_of(step, config, axes, selected)
        work = step.work(sizes) if step.work and step.is_wanted(config) else Work("")
        requests = sum(
            sum(asked_about(step, method, config, axes))
            for method in (methods_of(step, config) if step.requests else ())
        )
        lines.append(
            Line(step.name, step.pool, len(tasks or ()), work.text, work.subject_tokens, requests)
        )
    return lines


def num_requests(task: Task, config: Config, num_latents: int) -> int:
    """LLM requests of a task whose shards hold `num_latents` chosen latents; 0 where no LLM is
    asked.

    An upper bound: of a latent without evidence, or without a description, less is asked.
    """
    step = step_named(task.step)
    ordinary, more = _requests(step, task.method, config)
    if step.split != "selection":
        return ordinary
    num_controls = config.select.controls - task.shard * num_latents  # they come first
    return num_latents * ordinary + min(max(num_controls, 0), num_latents) * more


def asked_about(step: Step, method: str | None, config: Config, axes: Axes) -> tuple[int, int]:
    """LLM requests of a step for one method, every SAE together: those of any latent that the
    method is for, and those of the control sample beside them.
    """
    ordinary, more = _requests(step, method, config)
    if step.split != "selection":
        return ordinary, more
    selected = [expected_selection(config, len(r)) for r in axes.latents.values()]
    num_controls = sum(s.num_controls for s in selected)
    return num_described(method, config, axes) * ordinary, num_controls * more


def num_described(method: str | None, config: Config, axes: Axes) -> int:
    """Latents of every SAE together, at most, that a description method is for: the chosen ones, of
    a control those of the control sample.
    """
    selected = [expected_selection(config, len(r)) for r in axes.latents.values()]
    return sum(s.num_controls if is_control(method) else s.num_chosen for s in selected)


def _most_dead(config: Config, chosen: int, num_saes: int) -> int:
    """How many of the chosen latents may be dead: only the corpus tells of a list and of all."""
    rule = config.select
    return min(chosen, rule.num_dead * num_saes) if rule.rule in ("sample", "top") else chosen


def _requests(step: Step, method: str | None, config: Config) -> tuple[int, int]:
    """Of one latent, and beside them of one of the control sample."""
    if step.requests is None:
        return 0, 0
    assert method is not None, f"{step.name} asks an LLM for a method"
    more = step.control_requests(method, config) if step.control_requests else 0
    return step.requests(method, config), more


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
    chosen = min(chosen + rule.num_dead, num_latents)
    return Selected(chosen, panel, min(rule.controls, chosen))
