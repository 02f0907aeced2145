"""What a run would do and cost, for eyes: the budget as a table, the LLM's bill, and the sums."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ray_autointerp.config import Config, LLMSection
from ray_autointerp.plan.bill import cost
from ray_autointerp.plan.estimate import estimate
from ray_autointerp.plan.first_window import FirstWindow
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.forecast import Forecast, asked_of
from ray_autointerp.plan.shards import Axes
from ray_autointerp.plan.weights import in_gb, weight_bytes
from ray_autointerp.records.usage import Usage
from ray_autointerp.reports.window_text import window_text

_MOST_IDS = 4
"""SAEs named one by one; of a suite, the first and the last are."""


def plan_table(
    config: Config,
    axes: Axes,
    num_layers: int,
    layer: int,
    num_parameters: int,
    foreseen: Forecast,
    window: FirstWindow,
) -> Group:
    """The corpus's first window, one line per step that has a task, then one per LLM step. Layers
    and parameters are the subject's; `layer` is the hook's, from 0, of the first SAE.
    """
    lines = estimate(config, axes, num_layers, layer)
    latents = sum(len(r) for r in axes.latents.values())
    table = _table(f"{config.run.name}: {latents:,} latents of {sae_names(tuple(axes.latents))}")
    table.add_column("step", no_wrap=True)
    table.add_column("pool", no_wrap=True)
    table.add_column("work", overflow="fold")
    for name in ("shards", "subject\ntokens"):
        table.add_column(name, justify="right")
    for line in filter(lambda line: line.num_tasks, lines):
        table.add_row(
            line.step,
            line.pool,
            line.work,
            str(line.num_tasks),
            f"{line.subject_tokens:,}" if line.subject_tokens else "",
        )
    tokens = sum(line.subject_tokens for line in lines)
    return Group(
        *window_text(window),
        table,
        Text(f"in all {tokens:,} tokens through the subject"),
        Text(_weights(config, num_parameters) + "\n"),
        _bill(config, foreseen),
        *(Text(sentence) for sentence in _layers(axes)),
        *(Text(sentence) for sentence in _sentences(config, foreseen)),
        Text(
            "Nothing was done. `ray-autointerp label` does it; killed, it continues.", style="dim"
        ),
    )


def sae_names(ids: Sequence[str]) -> str:
    """The SAEs, or how many and which is the first and the last."""
    if len(ids) <= _MOST_IDS:
        return ", ".join(ids)
    return f"{len(ids)} SAEs, {ids[0]} to {ids[-1]}"


def _weights(config: Config, num_parameters: int) -> str:
    dtype, gpus = config.subject.dtype, config.operations.subject_gpus
    spread = f", spread over {gpus:g} GPUs" if gpus > 1 else ""
    return f"Its weights take {in_gb(weight_bytes(num_parameters, dtype))} in {dtype}{spread}."


def _bill(config: Config, foreseen: Forecast) -> Table:
    """What the LLM steps are about to use, step by step, and their sum."""
    table = _table("what the LLM is asked, about")
    table.add_column("step", no_wrap=True)
    table.add_column("model", overflow="fold")
    for name in (
        "requests",
        "prompt\ntokens",
        "of these from\ncache, at least",
        "generated\ntokens",
    ):
        table.add_column(name, justify="right")
    costs = foreseen_costs(config, foreseen)
    if costs is not None:
        table.add_column("cost", justify="right")
    for step, usage in foreseen.steps.items():
        if not usage.num_requests:
            continue
        money = [] if costs is None else [f"{costs[step]:,.4g}"]
        table.add_row(
            step, model_name(asked_of(step_named(step), config)), *_numbers(usage), *money
        )
    money = [] if costs is None else [f"{sum(costs.values()):,.4g}"]
    table.add_section()
    table.add_row("in all", "", *_numbers(foreseen_total(foreseen)), *money)
    return table


def _layers(axes: Axes) -> Iterator[str]:
    hooks = axes.all_write_points()
    if len(hooks) > 1:
        yield f"Layers are counted for {hooks[0]}, the first of {len(hooks)} hook points."


def _sentences(config: Config, foreseen: Forecast) -> Iterator[str]:
    """What the numbers rest on, what they leave out, and what the ceiling makes of them."""
    if "named_keywords" in config.describe.methods and "name" not in config.score.methods:
        yield (
            'Names are not scored: with "name" in describe.methods and score.methods, those that '
            "are too broad are marked."
        )
    yield "What is asked once more, because an answer was declined or cut off, comes on top."
    yield from foreseen.notes
    if any(section.price.engine_hour for section in (config.llm, config.judging)):
        yield "Engine hours come on top: how long engines take is not foreseen."
    budget = config.budget
    total, costs = foreseen_total(foreseen).num_tokens, foreseen_costs(config, foreseen)
    if budget.max_tokens is not None:
        yield _ceiling(
            f"max_tokens = {budget.max_tokens:,}", total / budget.max_tokens, budget.when_reached
        )
    if budget.max_cost is not None and costs is not None:
        share = sum(costs.values()) / budget.max_cost
        yield _ceiling(f"max_cost = {budget.max_cost:g}", share, budget.when_reached)


def _ceiling(name: str, share: float, when_reached: str) -> str:
    if share < 1:
        return f"The ceiling budget.{name} would not be reached: {share:.0%} of it is foreseen."
    then = {
        "stop": "the run would stop there, and a higher one continues it",
        "finish": "what is left would become rows with the status over_budget",
    }[when_reached]
    return f"The ceiling budget.{name} would be reached, {share:.0%} of it is foreseen: {then}."


def foreseen_costs(config: Config, foreseen: Forecast) -> dict[str, float] | None:
    """Money by step; None where no price is set."""
    prices = {step: asked_of(step_named(step), config).price for step in foreseen.steps}
    if not any(p.prompt or p.cached or p.generated for p in prices.values()):
        return None
    return {step: cost(usage, prices[step]) for step, usage in foreseen.steps.items()}


def foreseen_total(foreseen: Forecast) -> Usage:
    """Of all steps together."""
    return sum(foreseen.steps.values(), Usage())


def _numbers(usage: Usage) -> list[str]:
    cached = usage.num_cached_tokens
    return [
        f"{usage.num_requests:,}",
        f"{usage.num_prompt_tokens:,}",
        f"{cached / usage.num_prompt_tokens:.0%}" if cached else "",
        f"{usage.num_generated_tokens:,}",
    ]


def model_name(section: LLMSection) -> str:
    """Its name without the folder or the owner."""
    return section.script if section.backend == "scripted" else section.model.rpartition("/")[2]


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
