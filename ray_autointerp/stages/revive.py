"""revive: whether any text fires a chosen latent that never fired on the corpus.

One source of texts at a time: the sentences that a method's descriptions were said to activate it,
or one list of the latent's tokens, singly, in pairs and in runs, behind BOS (methods 16). A living
latent is a row with that status.
"""

from collections.abc import Sequence

from ray_autointerp.methods.revival import Attempt, attempts
from ray_autointerp.passes.peak_activations import (
    LatentText,
    Peak,
    encoded,
    peak_activations,
)
from ray_autointerp.plan.evidence import REVIVAL_LISTS
from ray_autointerp.records.split_characters import without_marks
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `revivals/<source>`: a row per chosen latent."""
    assert task.sae is not None and task.method is not None
    latents = context.tables.chosen(task)
    stats = context.tables.row("latent_stats", task.sae, latents)
    dead = [latent for latent in latents if stats[latent]["is_dead"]]
    tried = _attempts(context, task.sae, task.method, dead)
    texts = [LatentText(latent, one.token_ids) for latent in dead for one in tried[latent]]
    peaks = iter(peak_activations(context, context.sae(task.sae), texts) if texts else ())
    rows: dict[int, Row] = {latent: {"status": "alive"} for latent in latents}
    for latent in dead:
        rows[latent] = _row(context, tried[latent], [next(peaks) for _ in tried[latent]])
    context.write(task, "revivals", [{"latent": latent, **row} for latent, row in rows.items()])


def _attempts(
    context: WorkerContext, sae: str, source: str, latents: list[int]
) -> dict[int, list[Attempt]]:
    """The texts of the source, by latent."""
    if source in REVIVAL_LISTS:
        table, column = REVIVAL_LISTS[source]
        rows = context.tables.row(table, sae, latents)
        special = context.tokenizer.special_ids  # which no text that people write has
        return {
            latent: attempts([e["token"] for e in row[column] or () if e["token"] not in special])
            for latent, row in rows.items()
        }
    written = context.tables.rows("sentences", sae, latents, source)
    return {
        latent: [
            Attempt("sentence", tuple(encoded(context, text)))
            for row in rows
            for text in row["activating"] or ()
        ]
        for latent, rows in written.items()
    }


def _row(context: WorkerContext, tried: Sequence[Attempt], peaks: Sequence[Peak]) -> Row:
    """The text with the largest activation, the first of equals; none where nothing fires."""
    if not tried:
        return {"status": "no_evidence"}
    best, peak = max(zip(tried, peaks, strict=True), key=lambda pair: pair[1].activation)
    row: Row = {
        "status": "ok",
        "revived": peak.activation > 0,
        "activation": peak.activation,
        "num_texts": len(tried),
        "num_firing": sum(one.activation > 0 for one in peaks),
    }
    if not row["revived"]:
        return row
    text = without_marks("".join(context.tokenizer.row_texts(best.token_ids)))
    return row | {"kind": best.kind, "text": text, "token_ids": best.token_ids}
