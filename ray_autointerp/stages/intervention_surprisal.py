"""intervention_surprisal: how much likelier does a latent's steered text make its description?

Intervention scoring (methods 12.4): a trial has the steered texts of a unit of the output score and
texts without steering on the same prompts; the judge reads either set, and the log-probability of
the description as its answer is compared, in nats. No chance level, so the score is shown with its
lift over shuffled descriptions alone (reports/compare.py), and no label has it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ray_autointerp.methods.intervention_surprisal import intervention_surprisal
from ray_autointerp.methods.panel_draw import Unit
from ray_autointerp.passes.ask import ask_loglikelihood, failures, loglikelihood
from ray_autointerp.passes.text_sets import Completions, completions
from ray_autointerp.plan.units import surprisal_units, texts_of
from ray_autointerp.prompts import intervention_surprisal as prompt
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_UNSTEERED_COLUMNS = ["prompt", "draw", "text"]

Unsteered = Mapping[tuple[int, int], str]
"""Texts without steering by prompt and draw."""


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `surprisal_trials/<method>` and `surprisal_scores/<method>`."""
    assert task.sae is not None and task.method is not None
    tables, latents = context.tables, context.tables.chosen(task)
    steered = completions(tables, task.sae, latents)
    rows = tables.read("unsteered_texts", task.sae, columns=_UNSTEERED_COLUMNS).to_pylist()
    unsteered = {(row["prompt"], row["draw"]): row["text"] for row in rows}
    described = tables.row("descriptions", task.sae, latents, task.method)
    units = surprisal_units(context.run.config)

    async def judged(latent: int) -> list[Row]:
        """A row per trial; a trial that cannot be run has its reason as status."""
        row = described[latent]
        trials = (_trial(latent, unit, row, steered, unsteered, context) for unit in units)
        return list(await asyncio.gather(*trials))

    trials = await asyncio.gather(*map(judged, latents))
    scores = [_scored(latent, rows) for latent, rows in zip(latents, trials, strict=True)]
    context.write(task, "surprisal_trials", [row for rows in trials for row in rows])
    context.write(task, "surprisal_scores", scores)


async def _trial(
    latent: int,
    unit: Unit,
    described: Row,
    steered: Completions,
    unsteered: Unsteered,
    context: WorkerContext,
) -> Row:
    row: Row = {"latent": latent, **unit._asdict()}
    if described["status"] != "ok":
        return row | {"status": "no_evidence"}
    texts = texts_of(unit, context.run.config)
    if any((latent, text) not in steered for text in texts):
        return row | {"status": "kl_unreached"}
    sets = (
        [steered[latent, text]["text"] for text in texts],
        [unsteered[text.prompt, text.draw] for text in texts],
    )
    answers = await asyncio.gather(
        *(ask_loglikelihood(context, prompt.ask(one), described["description"]) for one in sets)
    )
    if failed := failures(answers):
        return row | {"status": failed[0]}
    after_steered, after_unsteered = map(loglikelihood, answers)
    return row | {
        "status": "ok",
        "logprob_steered": after_steered,
        "logprob_unsteered": after_unsteered,
        "num_tokens": len(answers[0].answer_logprobs or ()),
    }


def _scored(latent: int, trials: Sequence[Row]) -> Row:
    ok = [trial for trial in trials if trial["status"] == "ok"]
    if not ok:
        return {"latent": latent, "status": trials[0]["status"], "num_trials": 0}
    score = intervention_surprisal(
        [trial["logprob_steered"] for trial in ok],
        [trial["logprob_unsteered"] for trial in ok],
        ok[0]["num_tokens"],
    )
    return {"latent": latent, "status": "ok", **asdict(score), "num_trials": len(ok)}
