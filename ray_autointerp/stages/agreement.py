"""agreement: how far each cheap estimate can be believed, measured on the sample's latents.

The reference is exact TokenChange on windows of the score side, documents that no estimate has
seen; estimates come from the explain side. At two strengths: the latent's own maximum, and the
value that steering uses. Beside every estimate stands how well exact agrees with itself, half of
the reference's windows against the other half. The same passes give the exact hub statistics and
the sample rows of the variance model (methods 10).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ray_autointerp.methods.agreement import Reference, agreement, reference
from ray_autointerp.methods.control_variate import (
    logit_power,
    standard_errors,
    unembedding_gram,
    window_variance,
)
from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.jacobian import Jacobian
from ray_autointerp.methods.token_change import mean_logit_diff
from ray_autointerp.methods.token_lists import HubStats
from ray_autointerp.methods.vocab_proj import project
from ray_autointerp.passes.hub_stats import hub_table
from ray_autointerp.passes.jacobian import jacobian_of
from ray_autointerp.passes.sample_estimates import curve, exact_estimates, windows_as_run
from ray_autointerp.passes.sample_passes import SamplePasses, sample_passes
from ray_autointerp.passes.strengths import STRENGTHS, raised_values
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_COVERAGE_ERRORS = 2.0
"""Standard errors within which the reference should lie."""


def run(task: Task, context: WorkerContext) -> None:
    """Write `agreement`, `change_variance` and `hub_stats/exact` of one SAE."""
    assert task.sae is not None
    sample = sorted(
        latent for latent, m in context.tables.selection(task.sae).items() if m["sample"]
    )
    jacobian = jacobian_of(context.tables, task.sae, context.subject.device)
    rows: list[Row] = []
    variances: list[Row] = []
    passes: dict[str, SamplePasses] = {}
    for strength in STRENGTHS:
        values = raised_values(context.tables, task.sae, sample, strength)
        latents = [latent for latent in sample if values[latent] is not None]
        unreached = [latent for latent in sample if values[latent] is None]
        for table in (rows, variances):
            table += [_unreached(latent, strength, table is rows) for latent in unreached]
        if latents:
            value_B = torch.tensor([values[i] for i in latents], device=context.subject.device)
            made = sample_passes(context, task.sae, latents, value_B, jacobian)
            if jacobian.num_singles:
                variances += _scattered(context, made, jacobian, strength)
            passes[strength] = made
    for strength, made in passes.items():
        rows += _judged(context, task.sae, made, jacobian, strength, variances)
    context.write(task, "hub_stats/exact", hub_table(_hub_stats(context, passes.get("maximum"))))
    context.write(task, "change_variance", variances)
    context.write(task, "agreement", rows)


def _hub_stats(context: WorkerContext, passes: SamplePasses | None) -> HubStats:
    """Over the sample's exact changes at the maximum; of no sample zeros, so z-scores of 0."""
    W_U_DV = context.subject.W_U_DV
    if passes is None:
        nothing_V = torch.zeros(W_U_DV.shape[1])
        return HubStats(nothing_V, nothing_V)
    return hub_stats(passes.score_BMD.sum(1) / passes.score_counts_M.sum(), W_U_DV)


def _judged(
    context: WorkerContext,
    sae_id: str,
    passes: SamplePasses,
    jacobian: Jacobian,
    strength: str,
    variances: list[Row],
) -> list[Row]:
    """A row per latent and estimate, with its agreement with the reference."""
    subject = context.subject
    W_U_DV, num_latents = subject.W_U_DV, len(passes.latents)

    def logits(mean_BD: Tensor) -> Tensor:
        return mean_logit_diff(mean_BD, W_U_DV)

    half = len(passes.score_counts_M) // 2
    halves = [
        passes.score_BMD[:, part].sum(1) / passes.score_counts_M[part].sum()
        for part in (slice(0, half), slice(half, 2 * half))
    ]
    whole_BD = passes.score_BMD.sum(1) / passes.score_counts_M.sum()
    truth, first_half = reference(logits(whole_BD)), reference(logits(halves[0]))
    decoder_BD = context.sae(sae_id).W_dec_LD[passes.latents]
    lens_BV = project(decoder_BD, subject.final_norm, W_U_DV)
    rows = _rows(
        passes, strength, "exact_halves", [half] * num_latents, logits(halves[1]), first_half
    )
    rows += _rows(passes, strength, "vocab_proj", [0] * num_latents, lens_BV, truth)
    for count in curve(len(jacobian.counts_N), jacobian.num_windows):
        linear_BD = passes.linear_mean_BD
        if count < jacobian.num_windows:
            linear_BD = passes.linear_BND[:, :count].sum(1) / jacobian.counts_N[:count].sum()
        rows += _rows(
            passes, strength, "jacobian_proj", [count] * num_latents, logits(linear_BD), truth
        )
    error_BV = _reference_errors(passes, W_U_DV)
    linear_BND = passes.linear_BND / jacobian.counts_N[:, None]
    for made in exact_estimates(
        passes, windows_as_run(context, strength, variances, jacobian, passes)
    ):
        estimate_BV = logits(made.mean_BD)
        coverage = [
            _coverage(
                estimate_BV[i],
                scattered_ND,
                linear_BND[i] if made.is_corrected[i] else None,
                jacobian.num_windows,
                truth.logits_BV[i],
                error_BV[i],
                W_U_DV,
            )
            for i, scattered_ND in enumerate(made.scattered)
        ]
        counts = [len(scattered_ND) for scattered_ND in made.scattered]
        rows += _rows(passes, strength, made.estimator, counts, estimate_BV, truth, coverage)
    return rows


def _reference_errors(passes: SamplePasses, W_U_DV: Tensor) -> Tensor:
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
    estimate_V: Tensor,
    scattered_ND: Tensor,
    linear_ND: Tensor | None,
    num_jacobian: int,
    truth_V: Tensor,
    truth_error_V: Tensor,
    W_U_DV: Tensor,
) -> float | None:
    """Share of the estimate's top tokens whose reference lies within two standard errors."""
    if len(scattered_ND) < 2:
        return None
    ids_K = estimate_V.topk(20).indices
    columns_DK = W_U_DV[:, ids_K].float()
    error_K = standard_errors(
        (scattered_ND @ columns_DK)[None],
        None if linear_ND is None else (linear_ND @ columns_DK)[None],
        num_jacobian,
    )[0]
    bound_K = _COVERAGE_ERRORS * (error_K**2 + truth_error_V[ids_K] ** 2).sqrt()
    miss_K = (estimate_V[ids_K] - truth_V[ids_K]).abs()
    return float((miss_K <= bound_K).float().mean())


def _rows(
    passes: SamplePasses,
    strength: str,
    estimator: str,
    num_windows: Sequence[int],
    estimate_BV: Tensor,
    truth: Reference,
    coverage: Sequence[float | None] | None = None,
) -> list[Row]:
    found = agreement(estimate_BV, truth)
    # A latent that moves nothing has no error relative to what it moves.
    has_effect_B = truth.logits_BV.any(1).tolist()
    return [
        {
            "latent": latent,
            "strength": strength,
            "estimator": estimator,
            "num_windows": num_windows[i],
            "status": "ok",
            "clamp_value": float(passes.value_B[i]),
            "overlap": float(found.overlap_B[i]),
            "spearman": float(found.spearman_B[i]),
            "relative_error": float(found.relative_error_B[i]) if has_effect_B[i] else None,
            "coverage": None if coverage is None else coverage[i],
        }
        for i, latent in enumerate(passes.latents)
    ]


def _scattered(
    context: WorkerContext, passes: SamplePasses, jacobian: Jacobian, strength: str
) -> list[Row]:
    """Per latent, what the variance model is fitted on."""
    gram_DD = unembedding_gram(context.subject.W_U_DV)
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
