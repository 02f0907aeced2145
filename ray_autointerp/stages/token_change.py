"""token_change: which logits move when a chosen latent is clamped, in one of three modes.

One fixed set of windows for all latents, clean pass shared, error term kept, mean taken before
the unembedding (methods 4.3, 9). Lists are signed, with each token's standard error; the KL and
the change in confidence are of the next token after the positions that the mode looks at: the
windows' last in `all` and `last`, the active ones in `active`.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ray_autointerp.methods.control_variate import standard_errors
from ray_autointerp.methods.token_change import mean_logit_diff, token_change
from ray_autointerp.methods.token_lists import HubStats, TokenLists
from ray_autointerp.passes.change_modes import MEASURES, Measured, Pair
from ray_autointerp.passes.hub_stats import read_hub_stats
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.passes.token_entries import token_entries
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row, Tables

_TOGETHER = 64
"""Latents whose logits are held over the vocabulary at once."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `token_change/<mode>`: a row per latent and sign."""
    assert task.sae is not None and task.method is not None
    clamps = clamp_values(context.tables, task.sae, context.tables.chosen(task))
    values = {pair: value for pair, value in clamps.items() if value is not None}
    measured = MEASURES[task.method](context, task.sae, values) if values else {}
    columns = dict(_columns(context, measured, read_hub_stats(context.tables, task.sae, "exact")))
    rows = []
    for pair, value in clamps.items():
        row: Row = {"latent": pair[0], "sign": pair[1]}
        if value is None:
            row["status"] = "kl_unreached"
        elif pair not in measured:
            row["status"] = "no_evidence"
        else:
            set_to = 0.0 if task.method == "active" and pair[1] < 0 else value
            row |= {"status": "ok", "clamp_value": set_to}
            row |= columns[pair]
        rows.append(row)
    context.write(task, "token_change", rows)


def clamp_values(tables: Tables, sae: str, latents: list[int]) -> dict[Pair, float | None]:
    """By latent and sign, the value the config's rule clamps to; None where a KL is unreached.

    In the mode `active` the positive one is what is added, and the negative one is not used.
    """
    evidence = tables.run.config.evidence
    size = evidence.change_clamp_size
    if evidence.change_clamp == "kl":
        rows = tables.rows("clamps", sae, latents)
        return {
            (latent, row["sign"]): row["clamp_value"]
            for latent in latents
            for row in rows[latent]
            if abs(row["kl_target"] - size) < 1e-6
        }
    scale = reference_activations(tables, sae)
    return {
        (latent, sign): sign * size * (1 if evidence.change_clamp == "fixed" else scale[latent])
        for latent in latents
        for sign in (1, -1)
    }


def _columns(
    context: WorkerContext, measured: Mapping[Pair, Measured], hub: HubStats
) -> Iterator[tuple[Pair, Row]]:
    """What a row says of each pair; products with the unembedding are made for many at once."""
    W_U_DV = context.subject.W_U_DV
    for sign in (1, -1):
        # What lowering does is, to first order, what raising does with its sign turned.
        signed = HubStats(sign * hub.mean_V, hub.sd_V)
        pairs = [pair for pair in measured if pair[1] == sign]
        for start in range(0, len(pairs), _TOGETHER):
            together = pairs[start : start + _TOGETHER]
            lists = token_change(
                mean_logit_diff(torch.stack([measured[p].mean_D for p in together]), W_U_DV),
                context.run.config.evidence.num_changed_tokens,
                signed,
            )
            errors = {
                side: _errors(of, [measured[pair] for pair in together], W_U_DV)
                for side, of in (("promoted", lists.promoted), ("suppressed", lists.suppressed))
            }
            promoted = token_entries(lists.promoted, context.tokenizer)
            suppressed = token_entries(lists.suppressed, context.tokenizer)
            for row, pair in enumerate(together):
                one = measured[pair]
                yield (
                    pair,
                    {
                        "estimator": one.estimator,
                        "num_windows": one.num_windows,
                        "num_positions": one.num_positions,
                        "kl": one.kl,
                        "delta_confidence": one.delta_confidence,
                        "promoted": _with_errors(promoted[row], errors["promoted"][row]),
                        "suppressed": _with_errors(suppressed[row], errors["suppressed"][row]),
                    },
                )


def _errors(lists: TokenLists, measured: Sequence[Measured], W_U_DV: Tensor) -> list[list[float]]:
    """Standard errors of the listed tokens' mean logit diffs, row by row.

    Rows of as many windows are done together: on a GPU each would be waited for alone.
    """
    columns_DBK = W_U_DV[:, lists.ids_BK].float()
    errors_BK = torch.empty(lists.ids_BK.shape, device=W_U_DV.device)
    alike: dict[object, list[int]] = defaultdict(list)
    for row, one in enumerate(measured):
        alike[len(one.scattered_ND), one.num_jacobian].append(row)
    for rows in alike.values():
        columns_RDK = columns_DBK[:, rows].movedim(1, 0)
        group = [measured[row] for row in rows]
        scattered_RNK = torch.stack([one.scattered_ND for one in group]).float() @ columns_RDK
        linear = [one.linear_ND for one in group if one.linear_ND is not None]
        linear_RNK = torch.stack(linear).float() @ columns_RDK if linear else None
        errors_BK[rows] = standard_errors(scattered_RNK, linear_RNK, group[0].num_jacobian)
    found: list[list[float]] = errors_BK.tolist()
    return found


def _with_errors(entries: list[Row], errors: list[float]) -> list[Row]:
    return [
        {**entry, "se": error if math.isfinite(error) else None}
        for entry, error in zip(entries, errors, strict=True)
    ]
