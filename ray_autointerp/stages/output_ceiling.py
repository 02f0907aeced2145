"""output_ceiling: could anyone tell a latent's steered text from another's? No LLM is asked.

A linear observer with the exact logit diffs at steering strength is put to the two-set trials with
every panel partner and stranger. A latent for which it does no better than with another latent's
diffs has the status `no_effect_in_text`, and the judge is not asked about it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ray_autointerp.methods.output_ceiling import output_ceiling
from ray_autointerp.passes.text_sets import completions, text_sets
from ray_autointerp.plan.units import published_units
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_CHANGE_COLUMNS = ("latent", "strength", "status", "mean_change")


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `output_ceilings`."""
    assert task.sae is not None
    latents = context.tables.chosen(task)
    panel = context.tables.panel(task.sae)
    needed = list(dict.fromkeys([*panel, *latents]))
    changes = _changes(context, task.sae, needed)
    sums = _set_sums(context, task.sae, needed)
    rows = []
    for latent in latents:
        others = [other for other in panel if other != latent and other in changes]
        rows.append({"latent": latent, **_observed(latent, others, changes, sums)})
    context.write(task, "output_ceilings", rows)


def _observed(
    latent: int, others: Sequence[int], changes: Mapping[int, Tensor], sums: Mapping[int, Tensor]
) -> Row:
    has_set_S = ~sums[latent].isnan().any(1)
    row: Row = {"status": "ok", "num_sets": int(has_set_S.sum())}
    if latent not in changes or not row["num_sets"]:
        return row | {"status": "kl_unreached"}
    if not others:
        return row | {"status": "no_partner"}
    others_KSD = torch.stack([sums[other] for other in others])[:, has_set_S]
    found = output_ceiling(
        changes[latent],
        sums[latent][has_set_S],
        torch.stack([changes[other] for other in others]),
        others_KSD,
        ~others_KSD.isnan().any(2),
    )
    if found.win_rate is None:
        row["status"] = "no_partner"
    elif found.is_at_chance:
        row["status"] = "no_effect_in_text"
    return row | {"ceiling": found.win_rate, "null_quantile": found.null_quantile}


def _changes(context: WorkerContext, sae: str, latents: Sequence[int]) -> dict[int, Tensor]:
    """By latent, the mean change [D] of the final normed state at steering strength, if any."""
    rows = context.tables.rows("held_out_change", sae, latents, columns=_CHANGE_COLUMNS)
    device = context.subject.device
    return {
        latent: torch.tensor(row["mean_change"], dtype=torch.float64, device=device)
        for latent in latents
        for row in rows[latent]
        if row["strength"] == "steering" and row["status"] == "ok"
    }


def _set_sums(context: WorkerContext, sae: str, latents: Sequence[int]) -> dict[int, Tensor]:
    """By latent, the sums [S, D] of the unembedding over each set's tokens; NaN where none is."""
    config, W_U_DV = context.run.config, context.subject.W_U_DV
    sets = text_sets(config, completions(context.tables, sae, latents), latents)
    nothing_D = torch.full_like(W_U_DV[:, 0], torch.nan, dtype=torch.float64)

    def summed(latent: int) -> Tensor:
        sums = []
        for unit in published_units(config):
            rows = sets.get((latent, unit))
            tokens = [token for row in rows or () for token in row["token_ids"]]
            own = [token for token in tokens if token < W_U_DV.shape[1]]  # the rest are padding
            sums.append(W_U_DV[:, own].double().sum(1) if rows else nothing_D)
        return torch.stack(sums)

    return {latent: summed(latent) for latent in latents}
