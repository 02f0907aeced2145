"""agreement: how far each cheap estimate can be believed, measured on the sample's latents.

The reference is exact TokenChange on windows of the score side, documents that no estimate has
seen; estimates come from the explain side. At two strengths: the latent's own maximum, and the
value that steering uses. Beside every estimate stands how well exact agrees with itself, half of
the reference's windows against the other half. The same passes give the exact hub statistics and
the sample rows of the variance model (methods 10).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.methods.agreement import Reference, agreement, reference
from ray_autointerp.methods.control_variate import (
    control_variate,
    logit_power,
    standard_errors,
    unembedding_gram,
    window_variance,
)
from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.jacobian import Jacobian, linear_change, linear_window_sums
from ray_autointerp.methods.token_change import mean_logit_diff
from ray_autointerp.methods.token_lists import HubStats
from ray_autointerp.methods.vocab_proj import project
from ray_autointerp.models.clamped_pass import clean_run, window_changes
from ray_autointerp.records.task import Task
from ray_autointerp.stages.change_windows import change_windows
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.hub_stats import hub_table
from ray_autointerp.stages.jacobian import jacobian_of
from ray_autointerp.stages.reference_activations import reference_activations
from ray_autointerp.stages.tables import Row, Tables

STRENGTHS = ("maximum", "steering")
"""The latent's maximum activation; the clamp that reaches steering's highest KL target."""

_COVERAGE_ERRORS = 2.0
"""Standard errors within which the reference should lie."""


@dataclass(frozen=True)
class _Passes:
    """Exact passes of the sample at one strength, and what is linear about them."""

    latents: list[int]
    value_B: Tensor
    norm_B: Tensor
    """Length of the clamp's contribution to the residual stream."""
    explain_BND: Tensor
    explain_counts_N: Tensor
    score_BMD: Tensor
    score_counts_M: Tensor
    linear_BND: Tensor
    """On the Jacobian's single windows, which are the first of the explain side's."""
    linear_mean_BD: Tensor


def run(task: Task, desk: Desk) -> None:
    """Write `agreement`, `change_variance` and `hub_stats/exact` of one SAE."""
    assert task.sae is not None
    sample = sorted(latent for latent, m in desk.selection(task.sae).items() if m["sample"])
    jacobian = jacobian_of(desk, task.sae, desk.subject.device)
    rows: list[Row] = []
    variances: list[Row] = []
    nothing_V = torch.zeros(desk.subject.W_U_DV.shape[1])
    hub = HubStats(nothing_V, nothing_V)  # of no sample: z-scores of 0
    for strength in STRENGTHS:
        values = _values(desk, task.sae, sample, strength)
        latents = [latent for latent in sample if values[latent] is not None]
        unreached = [latent for latent in sample if values[latent] is None]
        for table in (rows, variances):
            table += [_unreached(latent, strength, table is rows) for latent in unreached]
        if not latents:
            continue
        value_B = torch.tensor([values[latent] for latent in latents], device=desk.subject.device)
        passes = _passes(desk, task.sae, latents, value_B, jacobian)
        rows += _judged(desk, task.sae, passes, jacobian, strength)
        variances += _scattered(desk, passes, jacobian, strength)
        if strength == "maximum":
            mean_BD = passes.score_BMD.sum(1) / passes.score_counts_M.sum()
            hub = hub_stats(mean_BD, desk.subject.W_U_DV)
    desk.write(task, "hub_stats/exact", hub_table(hub))
    desk.write(task, "change_variance", variances)
    desk.write(task, "agreement", rows)


def _values(tables: Tables, sae: str, sample: list[int], strength: str) -> dict[int, float | None]:
    if strength == "maximum":
        scale = reference_activations(tables, sae)
        return {latent: scale[latent] for latent in sample}
    target = max(tables.run.config.steering.kl_targets)
    clamps = tables.rows("clamps", sae, sample)
    return {
        latent: next(
            row["clamp_value"] if row["status"] == "ok" else None
            for row in clamps[latent]
            if row["sign"] == 1 and abs(row["kl_target"] - target) < 1e-6
        )
        for latent in sample
    }


def _passes(
    desk: Desk, sae_id: str, latents: list[int], value_B: Tensor, jacobian: Jacobian
) -> _Passes:
    evidence, sae = desk.run.config.evidence, desk.sae(sae_id)
    explain_BND, counts_N = _exact_sums(
        desk, sae_id, latents, value_B, change_windows(desk, "explain", evidence.change_windows)
    )
    score_BMD, counts_M = _exact_sums(
        desk, sae_id, latents, value_B, change_windows(desk, "score", evidence.agreement_windows)
    )
    x_BD = (sae.W_dec_LD[latents] * value_B[:, None]).float()
    return _Passes(
        latents,
        value_B,
        x_BD.norm(dim=1),
        explain_BND,
        counts_N,
        score_BMD,
        counts_M,
        linear_window_sums(x_BD, jacobian.singles_NDD),
        linear_change(x_BD, jacobian.mean_DD),
    )


def _exact_sums(
    desk: Desk, sae_id: str, latents: list[int], value_B: Tensor, windows_WT: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums [B, W, D] of the exact change per window, and the positions counted of each."""
    sums, counts = [], []
    micro_batch = desk.run.config.operations.micro_batch
    for batch_WT in torch.split(windows_WT, micro_batch):
        clean = clean_run(desk.subject, desk.sae(sae_id), latents, batch_WT)
        rows = max(1, micro_batch // len(batch_WT))
        done = window_changes(desk.subject, desk.sae(sae_id), clean, latents, value_B, rows)
        sums.append(done.sums_BWD)
        counts.append(clean.counts_W)
    return torch.cat(sums, 1), torch.cat(counts)


def _judged(
    desk: Desk, sae_id: str, passes: _Passes, jacobian: Jacobian, strength: str
) -> list[Row]:
    """A row per latent and estimate, with its agreement with the reference."""
    subject = desk.subject
    W_U_DV = subject.W_U_DV

    def logits(mean_BD: Tensor) -> Tensor:
        return mean_logit_diff(mean_BD, W_U_DV)

    half = len(passes.score_counts_M) // 2
    halves = [
        passes.score_BMD[:, part].sum(1) / passes.score_counts_M[part].sum()
        for part in (slice(0, half), slice(half, 2 * half))
    ]
    whole_BD = passes.score_BMD.sum(1) / passes.score_counts_M.sum()
    truth, first_half = reference(logits(whole_BD)), reference(logits(halves[0]))
    decoder_BD = desk.sae(sae_id).W_dec_LD[passes.latents]
    lens_BV = project(decoder_BD, subject.final_norm, W_U_DV)
    rows = _rows(passes, strength, "exact_halves", half, logits(halves[1]), first_half)
    rows += _rows(passes, strength, "vocab_proj", 0, lens_BV, truth)
    for count in _curve(len(jacobian.counts_N), jacobian.num_windows):
        linear_BD = passes.linear_mean_BD
        if count < jacobian.num_windows:
            linear_BD = passes.linear_BND[:, :count].sum(1) / jacobian.counts_N[:count].sum()
        rows += _rows(passes, strength, "jacobian_proj", count, logits(linear_BD), truth)
    error_BV = _reference_errors(passes, W_U_DV)
    for estimator, count, mean_BD, scattered_BND in _exact_estimates(passes):
        estimate_BV = logits(mean_BD)
        linear_BND = passes.linear_BND / jacobian.counts_N[:, None]
        coverage = _coverage(
            estimate_BV,
            scattered_BND,
            linear_BND if estimator == "control_variate" else None,
            jacobian.num_windows,
            truth.logits_BV,
            error_BV,
            W_U_DV,
        )
        rows += _rows(passes, strength, estimator, count, estimate_BV, truth, coverage)
    return rows


def _exact_estimates(passes: _Passes) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """Estimator, windows, mean [B, D] and per-window means that scatter [B, N, D]."""
    counts_N = passes.explain_counts_N
    for count in _curve(len(counts_N), len(counts_N)):
        sums_BND = passes.explain_BND[:, :count]
        mean_BD = sums_BND.sum(1) / counts_N[:count].sum()
        yield "exact", count, mean_BD, sums_BND / counts_N[:count, None]
    singles = min(passes.linear_BND.shape[1], len(counts_N))
    for count in _curve(singles, singles):
        exact, linear = passes.explain_BND[:, :count], passes.linear_BND[:, :count]
        mean_BD = control_variate(exact, linear, counts_N[:count], passes.linear_mean_BD)
        yield "control_variate", count, mean_BD, (exact - linear) / counts_N[:count, None]


def _curve(singles: int, all_windows: int) -> list[int]:
    """1, 2, 4, ... of the windows kept singly, and all."""
    powers = [2**i for i in range(10) if 2**i <= min(singles, all_windows)]
    return sorted({*powers, all_windows})


def _reference_errors(passes: _Passes, W_U_DV: Tensor) -> Tensor:
    """Standard error of the reference itself, [B, V], a window block at a time."""
    means_BMD = passes.score_BMD / passes.score_counts_M[:, None]
    total = torch.zeros(len(means_BMD), W_U_DV.shape[1], device=means_BMD.device)
    square = torch.zeros_like(total)
    for row, means_MD in enumerate(means_BMD):
        logits_MV = mean_logit_diff(means_MD - means_MD.mean(0), W_U_DV)
        total[row], square[row] = logits_MV.sum(0), logits_MV.pow(2).sum(0)
    num = means_BMD.shape[1]
    return ((square - total.pow(2) / num).clamp_min(0) / (num - 1) / num).sqrt()


def _coverage(
    estimate_BV: Tensor,
    scattered_BND: Tensor,
    linear_BND: Tensor | None,
    num_jacobian: int,
    truth_BV: Tensor,
    truth_error_BV: Tensor,
    W_U_DV: Tensor,
) -> list[float | None]:
    """Share of the estimate's top tokens whose reference lies within two standard errors."""
    if scattered_BND.shape[1] < 2:
        return [None] * len(estimate_BV)
    shares: list[float | None] = []
    for row, estimate_V in enumerate(estimate_BV):
        ids_K = estimate_V.topk(20).indices
        columns_DK = W_U_DV[:, ids_K].float()
        error_K = standard_errors(
            (scattered_BND[row] @ columns_DK)[None],
            None if linear_BND is None else (linear_BND[row] @ columns_DK)[None],
            num_jacobian,
        )[0]
        bound_K = _COVERAGE_ERRORS * (error_K**2 + truth_error_BV[row, ids_K] ** 2).sqrt()
        miss_K = (estimate_V[ids_K] - truth_BV[row, ids_K]).abs()
        shares.append(float((miss_K <= bound_K).float().mean()))
    return shares


def _rows(
    passes: _Passes,
    strength: str,
    estimator: str,
    num_windows: int,
    estimate_BV: Tensor,
    truth: Reference,
    coverage: Sequence[float | None] | None = None,
) -> list[Row]:
    found = agreement(estimate_BV, truth)
    return [
        {
            "latent": latent,
            "strength": strength,
            "estimator": estimator,
            "num_windows": num_windows,
            "status": "ok",
            "clamp_value": float(passes.value_B[i]),
            "overlap": float(found.overlap_B[i]),
            "spearman": float(found.spearman_B[i]),
            "relative_error": float(found.relative_error_B[i]),
            "coverage": None if coverage is None else coverage[i],
        }
        for i, latent in enumerate(passes.latents)
    ]


def _scattered(desk: Desk, passes: _Passes, jacobian: Jacobian, strength: str) -> list[Row]:
    """Per latent, what the variance model is fitted on."""
    gram_DD = unembedding_gram(desk.subject.W_U_DV)
    singles = min(len(jacobian.counts_N), passes.explain_BND.shape[1])
    counts_N = jacobian.counts_N[:singles]
    left_BND = passes.explain_BND[:, :singles] - passes.linear_BND[:, :singles]
    columns = {
        "clamp_norm": passes.norm_B,
        "first_residual": logit_power(left_BND[:, 0] / counts_N[0], gram_DD, gram_DD),
        "linear": window_variance(passes.linear_BND, jacobian.counts_N, gram_DD),
        "residual": window_variance(left_BND, counts_N, gram_DD),
        "exact": window_variance(passes.explain_BND, passes.explain_counts_N, gram_DD),
    }
    return [
        {
            "latent": latent,
            "strength": strength,
            "status": "ok",
            **{name: float(values_B[i]) for name, values_B in columns.items()},
        }
        for i, latent in enumerate(passes.latents)
    ]


def _unreached(latent: int, strength: str, is_agreement: bool) -> Row:
    row: Row = {"latent": latent, "strength": strength, "status": "kl_unreached"}
    return row | ({"estimator": "none", "num_windows": 0} if is_agreement else {})
