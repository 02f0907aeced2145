"""token_change: which logits move when a chosen latent is clamped, in one of three modes.

One fixed set of windows for all latents, clean pass shared, error term kept, mean taken before
the unembedding (methods 4.3, 9). Lists are signed, with each token's standard error; the KL and
the change in confidence are of the next token after the positions that the mode looks at: the
windows' last in `all` and `last`, the active ones in `active`.
"""

from torch import Tensor

from ray_autointerp.methods.control_variate import standard_errors
from ray_autointerp.methods.token_change import mean_logit_diff, token_change
from ray_autointerp.methods.token_lists import HubStats, TokenLists
from ray_autointerp.records.task import Task
from ray_autointerp.stages.change_modes import MEASURES, Measured, Pair
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.hub_stats import read_hub_stats
from ray_autointerp.stages.reference_activations import reference_activations
from ray_autointerp.stages.tables import Row, Tables
from ray_autointerp.stages.token_entries import token_entries


def run(task: Task, desk: Desk) -> None:
    """Write one selection shard of `token_change/<mode>`: a row per latent and sign."""
    assert task.sae is not None and task.method is not None
    clamps = clamp_values(desk, task.sae, desk.chosen(task))
    values = {pair: value for pair, value in clamps.items() if value is not None}
    measured = MEASURES[task.method](desk, task.sae, values) if values else {}
    hub = read_hub_stats(desk, task.sae, "exact")
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
            row |= _columns(desk, pair, measured[pair], hub)
        rows.append(row)
    desk.write(task, "token_change", rows)


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


def _columns(desk: Desk, pair: Pair, measured: Measured, hub: HubStats) -> Row:
    W_U_DV = desk.subject.W_U_DV
    lists = token_change(
        mean_logit_diff(measured.mean_D[None], W_U_DV),
        desk.run.config.evidence.num_changed_tokens,
        # What lowering does is, to first order, what raising does with its sign turned.
        HubStats(pair[1] * hub.mean_V, hub.sd_V),
    )
    return {
        "estimator": measured.estimator,
        "num_windows": measured.num_windows,
        "num_positions": measured.num_positions,
        "kl": measured.kl,
        "delta_confidence": measured.delta_confidence,
        "promoted": _entries(lists.promoted, measured, desk),
        "suppressed": _entries(lists.suppressed, measured, desk),
    }


def _entries(lists: TokenLists, measured: Measured, desk: Desk) -> list[Row]:
    columns_DK = desk.subject.W_U_DV[:, lists.ids_BK[0]].float()

    def logits(means_ND: Tensor) -> Tensor:
        return (means_ND.float() @ columns_DK)[None]

    errors_K = standard_errors(
        logits(measured.scattered_ND),
        None if measured.linear_ND is None else logits(measured.linear_ND),
        measured.num_jacobian,
    )[0]
    return [
        {**entry, "se": float(error) if error.isfinite() else None}
        for entry, error in zip(token_entries(lists, 0, desk.tokenizer), errors_K, strict=True)
    ]
