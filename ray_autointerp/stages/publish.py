"""publish: the labels, one row per latent, and the one file for people.

The label is the first `ok` description in the config's order: no choosing by the scores that
are then published. A latent that was not chosen keeps its keywords.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from ray_autointerp.passes.agreement_curve import nearest_map
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.step import Step
from ray_autointerp.records.layout import labels_file
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.parquet import write_table

_SHOWN_TOKENS = 5
"""Tokens of each list repeated in the labels table, for eyes."""


def run(task: Task, context: Tables) -> None:
    """Write one latent shard of `labels`."""
    assert task.sae is not None
    latents = list(context.latents(task))
    selection = context.selection(task.sae)
    chosen = [latent for latent in latents if latent in selection]
    stats = context.row("latent_stats", task.sae, latents)
    lists = context.row(nearest_map(context, task.sae), task.sae, latents)
    examples = context.rows("top_examples", task.sae, latents)
    descriptions = _by_method(context, "descriptions", task.sae, latents, chosen)
    scores = {
        step: _scores(step, context, task.sae, latents, chosen)
        for step in FLOW
        if step.label_columns
    }
    mode = context.run.config.evidence.change_modes[0]
    changes = context.rows("token_change", task.sae, chosen, mode)
    rows = []
    for latent in latents:
        method = _first_ok(latent, context.run.config.describe.methods, descriptions)
        promotes, suppresses = _moved(lists[latent], changes.get(latent, ()))
        rows.append(
            {
                "latent": latent,
                "label": descriptions[method][latent]["description"] if method else None,
                "method": method,
                "status": _status(method, latent in selection),
                "chosen": latent in selection,
                **{key: stats[latent][key] for key in ("is_dead", "density", "max_activation")},
                **{
                    name: row[column] if (row := of.get((latent, method))) else None
                    for step, of in scores.items()
                    for name, column in step.label_columns
                },
                "fires_on": _peak_tokens(examples[latent]),
                "promotes": promotes,
                "suppresses": suppresses,
            }
        )
    context.write(task, "labels", rows)


def publish_labels(run: Run, sae: str) -> None:
    """Join the shards of `labels` into `labels.parquet`, written last; nothing if it is there."""
    tables = Tables(run)
    write_table(
        tables.store,
        labels_file(sae),
        pa.concat_tables([tables.read("labels", sae)]).combine_chunks(),
        TABLES["labels"].schema,
        run.stamp("publish", sae),
        key=TABLES["labels"].key,
    )


def _by_method(
    context: Tables, table: str, sae: str, latents: Sequence[int], chosen: Sequence[int]
) -> dict[str, dict[int, Row]]:
    """Per description method, the rows of the latents that have one: keywords all."""
    return {
        method: context.row(table, sae, latents if method == "keywords" else chosen, method)
        for method in context.run.config.describe.methods
    }


def _scores(
    step: Step, context: Tables, sae: str, latents: Sequence[int], chosen: Sequence[int]
) -> dict[tuple[int, str | None], Row]:
    """Rows of a step's score by latent and label method; a score without methods is every one's."""
    table = step.writes[-1]
    if step.methods == "none":
        rows = context.row(table, sae, latents)
        methods = (None, *context.run.config.describe.methods)
        return {(latent, method): row for latent, row in rows.items() for method in methods}
    return {
        (latent, method): row
        for method in context.run.config.score.methods
        for latent, row in context.row(table, sae, chosen, method).items()
    }


def _first_ok(
    latent: int, methods: Sequence[str], descriptions: Mapping[str, Mapping[int, Row]]
) -> str | None:
    return next((m for m in methods if descriptions[m].get(latent, {}).get("status") == "ok"), None)


def _status(method: str | None, is_chosen: bool) -> str:
    if method:
        return "ok"
    return "no_evidence" if is_chosen else "not_selected"


def _peak_tokens(examples: Sequence[Row]) -> list[str]:
    """The tokens of the strongest explain-side peaks, each once, strongest first."""
    explain = [row for row in examples if row["split"] == "explain"]
    peaks = [e["texts"][e["peak"]] for row in explain for e in row["examples"]]
    return list(dict.fromkeys(peaks))[:_SHOWN_TOKENS]


def _moved(lists: Row, changes: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Tokens the latent moves: by TokenChange where it was run, else by the better cheap map."""
    raised = next((row for row in changes if row["sign"] == 1 and row["status"] == "ok"), lists)
    return (
        [entry["text"] for entry in (raised["promoted"] or [])[:_SHOWN_TOKENS]],
        [entry["text"] for entry in (raised["suppressed"] or [])[:_SHOWN_TOKENS]],
    )
