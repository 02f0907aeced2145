"""select: which latents get exact clamps and LLM money, and the seeded subsets among them.

The panel (partners and strangers of output scores) and the sample (agreement) are each the first
alive latents by hash(seed, latent), so that no result depends on how shards are cut; the controls
are the first alive chosen ones. The order puts the panel first, because every output score waits
for it, then the other controls, which so fill few shards; the rest follow by latent id, as in the
tables of all latents, so that a shard of those reads few shards of the selection.

A latent that the rule takes and whose earlier label still holds is carried and not chosen. The
panel and the sample are always chosen: others are judged by them.
"""

import math
from collections.abc import Container
from typing import Any

import pyarrow.compute as pc

from ray_autointerp.errors import ConfigError
from ray_autointerp.plan.evidence import score_column
from ray_autointerp.records.keys import hash_order
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write the `selection` of one SAE: a row per latent of its range."""
    assert task.sae is not None
    rule, seed = context.run.config.select, context.run.config.run.seed
    stats = context.tables.read("latent_stats", task.sae, columns=["latent", "is_dead"]).to_pylist()
    alive = hash_order((row["latent"] for row in stats if not row["is_dead"]), seed, "select")
    panel, sample = set(alive[: rule.panel]), set(alive[: rule.sample])
    picks = {
        "sample": set(alive[: rule.num_latents]),
        "top": set(_best(context, task.sae, alive)[: rule.num_latents]),
        "all": {row["latent"] for row in stats},
        "list": set(rule.latents),
    }[rule.rule]
    outside = picks - {row["latent"] for row in stats}
    if outside:
        raise ConfigError(
            f"select.latents has {min(outside)}, which is not among the latents of {task.sae}."
        )
    dead = hash_order((row["latent"] for row in stats if row["is_dead"]), seed, "select dead")
    carried = (picks & _carried(context, task.sae)) - panel - sample
    chosen = (panel | sample | picks | set(dead[: rule.num_dead])) - carried
    controls = set([latent for latent in alive if latent in chosen][: rule.controls])
    in_order = sorted(chosen, key=lambda i: (i not in panel, i not in controls, i))
    order = {latent: place for place, latent in enumerate(in_order)}
    context.write(
        task,
        "selection",
        [
            {
                "latent": latent,
                "chosen": latent in order,
                "carried": latent in carried,
                "reason": "carried"
                if latent in carried
                else _reason(latent, picks, panel, sample, order, rule.rule),
                "panel": latent in panel,
                "sample": latent in sample,
                "control": latent in controls,
                "order": order.get(latent),
            }
            for latent in (row["latent"] for row in stats)
        ],
    )


def _carried(context: WorkerContext, sae: str) -> set[int]:
    """The latents for which the label of an earlier SAE still holds."""
    if not context.run.config.carries_over:
        return set()
    checks = context.tables.read("carry_checks", sae, columns=["latent", "carried"])
    latents: list[Any] = checks.filter(pc.field("carried"))["latent"].to_pylist()
    return set(latents)


def _best(context: WorkerContext, sae: str, alive: list[int]) -> list[int]:
    """The alive latents, the largest score first, or the smallest where keywords are to fail;
    ties by seeded hash; without a score last.
    """
    rule = context.run.config.select
    if rule.rule != "top":
        return []
    table, column = score_column(rule.by)
    rows = context.tables.read(table, sae, columns=["latent", column]).to_pylist()
    score = {row["latent"]: row[column] for row in rows}
    sign = 1 if rule.by == "keyword_f1" else -1
    return sorted(alive, key=lambda i: math.inf if score[i] is None else sign * score[i])


def _reason(
    latent: int,
    picks: set[int],
    panel: set[int],
    sample: set[int],
    chosen: Container[int],
    rule: str,
) -> str:
    if latent in picks:
        return rule
    if latent in panel:
        return "panel"
    if latent in sample:
        return "sample only"
    return "dead" if latent in chosen else "not chosen"
