"""shuffle: a control's descriptions. Each latent of the control sample gets another's.

The other is of the panel, drawn by hash of (latent, method), and has an `ok` description; the
scorers then treat it as they treat any other description.
"""

from ray_autointerp.plan.controls import method_of
from ray_autointerp.records.keys import hash_order
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one control shard of `descriptions/<method>.shuffled`."""
    assert task.sae is not None and task.method is not None
    method, seed = method_of(task.method), context.run.config.run.seed
    panel = context.tables.panel(task.sae)
    described = context.tables.row("descriptions", task.sae, panel, method)
    givers = [latent for latent in panel if described[latent]["status"] == "ok"]
    rows = []
    for latent in context.tables.chosen(task):
        order = hash_order((g for g in givers if g != latent), seed, "shuffle", method, latent)
        given = described[order[0]] if order else {"status": "no_evidence"}
        rows.append({**given, "latent": latent, "source": order[0] if order else None})
    context.write(task, "descriptions", rows)
