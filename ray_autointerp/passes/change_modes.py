"""How TokenChange measures in each of its modes: `all`, `active`, `last` (methods 16).

Every mode ends in the same record per latent and sign, so that lists, standard errors and columns
are made in one place (token_change.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc
import torch
from torch import Tensor

from ray_autointerp.methods.control_variate import (
    VarianceModel,
    control_variate,
    logit_power,
    unembedding_gram,
    window_variance,
    windows_needed,
)
from ray_autointerp.methods.jacobian import linear_change, linear_window_sums
from ray_autointerp.models.active_pass import active_changes
from ray_autointerp.models.clamped_pass import (
    CleanRun,
    clean_run,
    last_position_states,
    next_token_effects,
    window_changes,
)
from ray_autointerp.models.sae import Sae
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.passes.jacobian import jacobian_of
from ray_autointerp.passes.token_windows import token_windows
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

Pair = tuple[int, int]
"""A latent and the sign of its clamp."""


@dataclass(frozen=True)
class Measured:
    """One latent and sign: what the clamp did to the final normed states."""

    mean_D: Tensor
    scattered_ND: Tensor
    """Window means whose scatter makes the standard error: of the change, or of what the linear
    prediction leaves of it."""
    linear_ND: Tensor | None
    """Linear predictions on the Jacobian's single windows, with the control variate."""
    num_jacobian: int
    num_windows: int
    num_positions: int
    kl: float | None
    delta_confidence: float | None

    @property
    def estimator(self) -> str:
        """As the table says it."""
        return "exact" if self.linear_ND is None else "control_variate"


def measure_all(
    context: WorkerContext, sae_id: str, values: Mapping[Pair, float]
) -> dict[Pair, Measured]:
    """Clamped at every position of the shared windows, all of them or as many as needed."""
    sae, evidence = context.sae(sae_id), context.run.config.evidence
    windows_WT = change_windows(context.tables, "explain", evidence.change_windows)
    latents = list(dict.fromkeys(latent for latent, _ in values))
    clean = clean_run(context.subject, sae, latents, windows_WT)
    model = None
    if evidence.change_estimator != "exact":
        known = context.tables.read("change_variance", sae_id).filter(pc.field("status") == "ok")
        model = variance_model(known.to_pylist())
    if model is None:
        return _exact(context, sae, clean, values)
    return _corrected(context, sae_id, clean, values, model)


def measure_last(
    context: WorkerContext, sae_id: str, values: Mapping[Pair, float]
) -> dict[Pair, Measured]:
    """Clamped at the final position of the shared windows alone."""
    sae, subject = context.sae(sae_id), context.subject
    windows_WT = change_windows(
        context.tables, "explain", context.run.config.evidence.change_windows
    )
    latents = list(dict.fromkeys(latent for latent, _ in values))
    clean = clean_run(subject, sae, latents, windows_WT, keep_keys=True)
    pairs, value_B = list(values), _values(values, subject.device)
    rows = max(1, context.run.config.operations.micro_batch // len(windows_WT))
    states_BWD = last_position_states(subject, sae, clean, [p[0] for p in pairs], value_B, rows)
    counted_W = clean.mask_WT[:, -1]
    states_BWD, clean_WD = states_BWD[:, counted_W], clean.normed_WTD[counted_W, -1]
    effects = next_token_effects(subject, clean_WD, states_BWD)
    diff_BWD = states_BWD.float() - clean_WD.float()
    return {
        pair: Measured(
            diff_BWD[i].mean(0, dtype=torch.float64).float(),
            diff_BWD[i],
            None,
            0,
            len(clean_WD),
            len(clean_WD),
            float(effects.kl_B[i]),
            float(effects.delta_confidence_B[i]),
        )
        for i, pair in enumerate(pairs)
    }


def measure_active(
    context: WorkerContext, sae_id: str, values: Mapping[Pair, float]
) -> dict[Pair, Measured]:
    """Raised by the value and lowered to zero where the latent fires in its top examples.

    Latents that fire in no explain-side example are left out of the answer.
    """
    operations, evidence = context.run.config.operations, context.run.config.evidence
    examples = {
        latent: [e["window"] for e in rows["examples"][: evidence.change_examples]]
        for latent, rows in _explain_rows(context, sae_id, [p[0] for p in values]).items()
    }
    together = max(1, 4 * operations.micro_batch // evidence.change_examples)
    fired = [latent for latent, windows in examples.items() if windows]
    found: dict[Pair, Measured] = {}
    for start in range(0, len(fired), together):
        latents = fired[start : start + together]
        wanted = list(dict.fromkeys(w for latent in latents for w in examples[latent]))
        clean = _clean_examples(context, context.sae(sae_id), latents, wanted)
        place = {window: i for i, window in enumerate(wanted)}
        for latent in latents:
            rows_W = torch.tensor([place[w] for w in examples[latent]], device=clean.h_WTD.device)
            found |= _raised_and_lowered(context, sae_id, clean, latent, rows_W, values)
    return found


MEASURES = {"all": measure_all, "active": measure_active, "last": measure_last}


def _exact(
    context: WorkerContext, sae: Sae, clean: CleanRun, values: Mapping[Pair, float]
) -> dict[Pair, Measured]:
    pairs = list(values)
    num_windows = len(clean.mask_WT)
    rows = max(1, context.run.config.operations.micro_batch // num_windows)
    changes = window_changes(
        context.subject,
        sae,
        clean,
        [p[0] for p in pairs],
        _values(values, clean.h_WTD.device),
        rows,
    )
    counts_W = clean.counts_W
    last_W = clean.mask_WT[:, -1]
    effects = next_token_effects(
        context.subject, clean.normed_WTD[last_W, -1], changes.last_BWD[:, last_W]
    )
    return {
        pair: Measured(
            (changes.sums_BWD[i].sum(0, dtype=torch.float64) / counts_W.sum()).float(),
            changes.sums_BWD[i] / counts_W[:, None].clamp_min(1),
            None,
            0,
            num_windows,
            clean.num_positions,
            float(effects.kl_B[i]),
            float(effects.delta_confidence_B[i]),
        )
        for i, pair in enumerate(pairs)
    }


def variance_model(rows: Sequence[Row]) -> VarianceModel | None:
    """Fitted on rows of `change_variance`; None where they are too few."""
    columns = ("clamp_norm", "first_residual", "linear", "residual", "exact")
    return VarianceModel.fit(*(torch.tensor([row[name] for row in rows]) for name in columns))


def _corrected(
    context: WorkerContext,
    sae_id: str,
    clean: CleanRun,
    values: Mapping[Pair, float],
    model: VarianceModel,
) -> dict[Pair, Measured]:
    """The first window for all; then, by the model, some more for each, or plainly all."""
    sae, subject = context.sae(sae_id), context.subject
    pairs, value_B = list(values), _values(values, clean.h_WTD.device)
    jacobian = jacobian_of(context.tables, sae_id, clean.h_WTD.device)
    singles = len(jacobian.counts_N)
    x_BX = (sae.written_LX[[p[0] for p in pairs]] * value_B[:, None]).float()
    linear_BND = linear_window_sums(x_BX, jacobian.singles_NDD)
    linear_mean_BD = linear_change(x_BX, jacobian.mean_DD)
    gram_DD = unembedding_gram(subject.W_U_DV)
    micro_batch = context.run.config.operations.micro_batch
    first = window_changes(
        subject, sae, clean.windows(0, 1), [p[0] for p in pairs], value_B, micro_batch
    )
    counts_N = jacobian.counts_N
    left_BD = (first.sums_BWD[:, 0] - linear_BND[:, 0]) / counts_N[0]
    linear_B = window_variance(linear_BND, counts_N, gram_DD)
    needed = windows_needed(
        model.residual_variance(x_BX.norm(dim=1), logit_power(left_BD, gram_DD, gram_DD)),
        model.exact_variance(linear_B),
        linear_B,
        len(clean.mask_WT),
        jacobian.num_windows,
    )
    found: dict[Pair, Measured] = {}
    for count in sorted({n for n in needed if n is not None and n <= singles}):
        rows = [i for i, n in enumerate(needed) if n == count]
        rest = window_changes(
            subject,
            sae,
            clean.windows(1, count),
            [pairs[i][0] for i in rows],
            value_B[rows],
            max(1, micro_batch // (count - 1)),
        )
        sums_RND = torch.cat([first.sums_BWD[rows], rest.sums_BWD], 1)
        last_RND = torch.cat([first.last_BWD[rows], rest.last_BWD], 1)
        is_counted_N = clean.mask_WT[:count, -1]
        effects = next_token_effects(
            subject, clean.normed_WTD[:count][is_counted_N, -1], last_RND[:, is_counted_N]
        )
        mean_RD = control_variate(
            sums_RND, linear_BND[rows, :count], counts_N[:count], linear_mean_BD[rows]
        )
        for r, i in enumerate(rows):
            found[pairs[i]] = Measured(
                mean_RD[r],
                (sums_RND[r] - linear_BND[i, :count]) / counts_N[:count, None],
                linear_BND[i] / counts_N[:, None],
                jacobian.num_windows,
                count,
                int(counts_N[:count].sum()),
                float(effects.kl_B[r]),
                float(effects.delta_confidence_B[r]),
            )
    plain = {pair: value for pair, value in values.items() if pair not in found}
    return found | (_exact(context, sae, clean, plain) if plain else {})


def _raised_and_lowered(
    context: WorkerContext,
    sae_id: str,
    clean: CleanRun,
    latent: int,
    rows_W: Tensor,
    values: Mapping[Pair, float],
) -> dict[Pair, Measured]:
    acts_WT = clean.acts_WTL[rows_W][..., clean.latents.index(latent)]
    is_active_WT = (acts_WT > 0) & clean.mask_WT[rows_W]
    rows_W, acts_WT = rows_W[is_active_WT.any(1)], acts_WT[is_active_WT.any(1)]
    pairs = [pair for pair in values if pair[0] == latent]
    if len(rows_W) == 0:
        return {}
    changes_NWT = torch.stack(
        [torch.full_like(acts_WT, values[p]) if p[1] > 0 else -acts_WT for p in pairs]
    )
    rows = context.run.config.operations.micro_batch
    done = active_changes(
        context.subject, context.sae(sae_id), clean, latent, rows_W, changes_NWT, rows
    )
    effects = next_token_effects(context.subject, done.clean_PD, done.clamped_NPD)
    return {
        pair: Measured(
            (done.sums_NWD[i].sum(0, dtype=torch.float64) / done.counts_W.sum()).float(),
            done.sums_NWD[i] / done.counts_W[:, None],
            None,
            0,
            len(rows_W),
            int(done.counts_W.sum()),
            float(effects.kl_B[i]),
            float(effects.delta_confidence_B[i]),
        )
        for i, pair in enumerate(pairs)
    }


def _explain_rows(context: WorkerContext, sae_id: str, latents: Sequence[int]) -> dict[int, Row]:
    found = context.tables.rows(
        "top_examples",
        sae_id,
        list(dict.fromkeys(latents)),
        columns=["latent", "split", "examples.list.element.window"],
    )
    return {
        latent: next(row for row in rows if row["split"] == "explain")
        for latent, rows in found.items()
    }


def _clean_examples(
    context: WorkerContext, sae: Sae, latents: Sequence[int], wanted: list[int]
) -> CleanRun:
    """The clean pass over whole corpus windows, padded on the right, keys kept."""
    windows = token_windows(context.tables, wanted)
    rows = windows.rows(wanted).tolist()
    by_window = {w: windows.token_ids(row).tolist() for w, row in zip(wanted, rows, strict=True)}
    longest = max(map(len, by_window.values()))
    pad = context.tokenizer.eos_id or 0
    ids_WT = torch.tensor([by_window[w] + [pad] * (longest - len(by_window[w])) for w in wanted])
    lengths_W1 = torch.tensor([[len(by_window[w])] for w in wanted])
    clean = clean_run(context.subject, sae, latents, ids_WT, keep_keys=True)
    is_token_WT = (torch.arange(longest) < lengths_W1).to(clean.mask_WT.device)
    return clean.masked(is_token_WT)


def _values(values: Mapping[Pair, float], device: torch.device) -> Tensor:
    return torch.tensor(list(values.values()), dtype=torch.float32, device=device)
