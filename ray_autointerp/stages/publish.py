"""publish: the labels, one row per latent, and the one file for people.

The label is the first `ok` description in the config's order: no choosing by the scores that
are then published. A latent that was not chosen keeps its keywords.

A description whose text several latents of the SAE have is `lint` here and not in its own table:
only who reads all of them can tell, whatever the shards and the order of tasks. `keywords` are
computed and exempt.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.passes.agreement_curve import nearest_map
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.step import Step
from ray_autointerp.prompts.repeated_text import repeated
from ray_autointerp.records.layout import labels_file
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.parquet import write_table

_SHOWN_TOKENS = 5
"""Tokens of each list repeated in the labels table, for eyes."""
_DESCRIBED = ("latent", "status", "description")


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
    shared = _repeated(context, task.sae)
    rows = []
    for latent in latents:
        statuses = {
            method: "lint" if latent in shared.get(method, ()) else of[latent]["status"]
            for method, of in descriptions.items()
            if latent in of
        }
        method = next((method for method, status in statuses.items() if status == "ok"), None)
        promotes, suppresses = _moved(lists[latent], changes.get(latent, ()))
        rows.append(
            {
                "latent": latent,
                "label": descriptions[method][latent]["description"] if method else None,
                "method": method,
                "status": _status(statuses, method, latent in selection),
                "repeated": [name for name, of in shared.items() if latent in of],
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


def _repeated(context: Tables, sae: str) -> Mapping[str, frozenset[int]]:
    """By method that asks an LLM, in the config's order, the latents whose text others have too."""

    def read() -> Mapping[str, frozenset[int]]:
        found = {}
        for method in context.run.config.describe.methods:
            if method != "keywords":
                table = context.read("descriptions", sae, method, columns=_DESCRIBED)
                said = table.filter(pc.field("status") == "ok")
                found[method] = repeated(
                    {row["latent"]: row["description"] for row in said.to_pylist()}
                )
        return found

    return context.kept(("repeated", sae), read)


def _status(statuses: Mapping[str, str], method: str | None, is_chosen: bool) -> str:
    """`ok`, or why there is no label: for a chosen latent, what came of the preferred method."""
    if method:
        return "ok"
    return next(iter(statuses.values()), "no_evidence") if is_chosen else "not_selected"


def _peak_tokens(examples: Sequence[Row]) -> list[str]:
    """The tokens of the strongest explain-side peaks, each once, strongest first."""
    explain = [row for row in examples if row["split"] == "explain"]
    peaks = [e["texts"][e["peak"]] for row in explain for e in row["examples"]]
    return list(dict.fromkeys(peaks))[:_SHOWN_TOKENS]


def _moved(lists: Row, changes: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Tokens the latent moves: by TokenChange where it was run, else by the better cheap map."""
    raised = next((row for row in changes if row["sign"] == 1 and row["status"] == "ok"), lists)
    return (
        [entry["text"] for entry in raised["promoted"][:_SHOWN_TOKENS]],
        [entry["text"] for entry in raised["suppressed"][:_SHOWN_TOKENS]],
    )
