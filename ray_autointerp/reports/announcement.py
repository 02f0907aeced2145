"""What a command that works for long is about to do and cost, in a few lines before it begins."""

from collections.abc import Iterator

from ray_autointerp.config import Config
from ray_autointerp.plan.estimate import num_described
from ray_autointerp.plan.forecast import Forecast
from ray_autointerp.reports.plan_table import (
    foreseen_costs,
    foreseen_total,
    model_name,
    sae_names,
)
from ray_autointerp.runs.run import Run


def run_lines(run: Run, foreseen: Forecast | None) -> Iterator[str]:
    """Of a run that begins or goes on. `foreseen` is of the whole run; None where that would not
    tell, as of a run that takes most of it over from its parent.
    """
    config, axes = run.config, run.axes
    num_latents = sum(len(found) for found in axes.latents.values())
    chosen = num_described(None, config, axes)
    yield (
        f"{config.run.name}: {num_latents:,} latents of {sae_names(run.saes)}, of which at most "
        f"{chosen:,} are described."
    )
    if foreseen is not None:
        total, costs = foreseen_total(foreseen), foreseen_costs(config, foreseen)
        money = "" if costs is None else f", which costs about {sum(costs.values()):,.4g}"
        yield (
            f"{_asked(config)} in all about {total.num_requests:,} times, with "
            f"{total.num_prompt_tokens:,} tokens of prompts and {total.num_generated_tokens:,} "
            f"generated{money}."
        )
    yield f"Its folder: {run.uri}"
    yield "Ctrl-C is safe: what is finished is kept, and the same command continues."


def job_lines(config: Config, uri: str, path: object) -> Iterator[str]:
    """Of a job that is about to be submitted. Nothing is loaded here: what it costs, `plan` says,
    and the job itself before it begins.
    """
    latents = {sae.id: sae.latents or "all" for sae in config.sae}
    ranges = ", ".join(dict.fromkeys(latents.values()))
    yield f"{config.run.name}: latents of {sae_names(tuple(latents))} ({ranges}), as a job."
    yield f"What it asks of the LLM: `ray-autointerp plan {path}`, or the job's first lines."
    yield f"Its folder: {uri}"
    yield "Ctrl-C is safe: once the job is submitted, it goes on by itself."


def _asked(config: Config) -> str:
    names = dict.fromkeys(map(model_name, (config.llm, config.judging)))
    return f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} asked"
