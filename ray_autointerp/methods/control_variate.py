"""TokenChange with the Jacobian as control variate (methods 10): exact on few windows, corrected.

mean over n windows of (exact - linear) + linear prediction from all of the Jacobian's windows.
Unbiased for the mean over the population of windows, whatever the Jacobian's bias: what is random
is only the residual (curvature) on n windows, and the linear part on the many.

How many windows a latent needs is fixed beforehand, by a model fitted on sample latents: a
latent's own running standard error, used as a stopping rule, would be biased low.
"""

# B clamped rows, N windows, D d_model, K tokens listed, S sample rows

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FEWEST_WINDOWS = 2
"""Below this a latent has no standard error of its own."""

_PRIOR_WINDOWS = 4
"""Windows that the row's pooled variance counts for, against a token's own (shrinkage)."""


def control_variate(
    exact_sums_BND: Tensor, linear_sums_BND: Tensor, counts_N: Tensor, linear_mean_BD: Tensor
) -> Tensor:
    """The corrected mean change [B, D]; sums are over the counted positions of each window."""
    residual_BD = (exact_sums_BND - linear_sums_BND).sum(1) / counts_N.sum()
    return residual_BD + linear_mean_BD


def logit_power(change_XD: Tensor, W_U_DV: Tensor, gram_DD: Tensor | None = None) -> Tensor:
    """Mean over the vocabulary of the squared logit diff of each row, [...]."""
    gram_DD = unembedding_gram(W_U_DV) if gram_DD is None else gram_DD
    return ((change_XD.to(gram_DD) @ gram_DD) * change_XD.to(gram_DD)).sum(-1)


def unembedding_gram(W_U_DV: Tensor) -> Tensor:
    """W_U W_U' / V [D, D] in float32: squared logits without the vocabulary."""
    wide_DV = W_U_DV.to(torch.promote_types(W_U_DV.dtype, torch.float32))
    return wide_DV @ wide_DV.T / W_U_DV.shape[1]


def window_variance(sums_BND: Tensor, counts_N: Tensor, gram_DD: Tensor) -> Tensor:
    """Variance over windows of the logit diff, mean over the vocabulary, [B]."""
    means_BND = sums_BND / counts_N[:, None]
    centred_BND = means_BND - means_BND.mean(1, keepdim=True)
    power_BN = logit_power(centred_BND, gram_DD, gram_DD)
    return power_BN.sum(1) / max(len(counts_N) - 1, 1)


@dataclass(frozen=True)
class VarianceModel:
    """Predicts, in squared logits, how far a latent's windows scatter before they are run.

    log residual variance = a + b log(clamp norm) + c log(first window's residual power);
    log exact variance = a' + b' log(linear variance). Least squares over the sample's rows.
    """

    residual: tuple[float, float, float]
    exact: tuple[float, float]

    @classmethod
    def fit(
        cls,
        clamp_norm_S: Tensor,
        first_residual_S: Tensor,
        linear_S: Tensor,
        residual_S: Tensor,
        exact_S: Tensor,
    ) -> "VarianceModel | None":
        """From sample rows; None where there are too few (below 6) to fit three numbers."""
        if len(clamp_norm_S) < 6:
            return None
        ones_S = torch.ones(len(clamp_norm_S), dtype=torch.float64)
        a, b, c = _least_squares(
            [ones_S, _log(clamp_norm_S), _log(first_residual_S)], _log(residual_S)
        )
        d, e = _least_squares([ones_S, _log(linear_S)], _log(exact_S))
        return cls((a, b, c), (d, e))

    def residual_variance(self, clamp_norm_B: Tensor, first_residual_B: Tensor) -> Tensor:
        """Predicted variance over windows of exact minus linear, [B]."""
        a, b, c = self.residual
        return (a + b * _log(clamp_norm_B) + c * _log(first_residual_B)).exp()

    def exact_variance(self, linear_B: Tensor) -> Tensor:
        """Predicted variance over windows of the exact change, [B]."""
        a, b = self.exact
        return (a + b * _log(linear_B)).exp()


def windows_needed(
    residual_B: Tensor, exact_B: Tensor, linear_B: Tensor, num_exact: int, num_jacobian: int
) -> list[int | None]:
    """Windows at which the corrected mean is as sure as `num_exact` plain exact windows.

    Error of the corrected mean: residual / n + linear / num_jacobian. None where no n is enough,
    because the Jacobian itself rests on too few windows, or where the residual overflowed: then the
    plain pass is the cheaper one.
    """
    needed: list[int | None] = []
    for residual, exact, linear in zip(
        residual_B.tolist(), exact_B.tolist(), linear_B.tolist(), strict=True
    ):
        room = exact / num_exact - linear / num_jacobian
        enough = math.ceil(residual / room) if room > 0 and math.isfinite(residual) else None
        usable = enough is not None and enough < num_exact
        needed.append(max(enough, FEWEST_WINDOWS) if usable and enough is not None else None)
    return needed


def standard_errors(scattered_BNK: Tensor, linear_BNK: Tensor | None, num_jacobian: int) -> Tensor:
    """Standard error [B, K] of listed tokens' mean logit diffs.

    `scattered_BNK` are per-window logit diffs: exact ones, or residuals (exact - linear) when
    `linear_BNK`, the linear predictions on the Jacobian's single windows, is given. A token's
    variance over few windows is shrunk towards the mean over its row's tokens.
    """
    num_windows = scattered_BNK.shape[1]
    own_BK = scattered_BNK.double().var(1)
    pooled_B1 = own_BK.mean(1, keepdim=True)
    weight = (num_windows - 1) / (num_windows - 1 + _PRIOR_WINDOWS)
    error_BK = (weight * own_BK + (1 - weight) * pooled_B1) / num_windows
    if linear_BNK is not None:
        error_BK = error_BK + linear_BNK.double().var(1) / num_jacobian
    return error_BK.sqrt().float()


def _log(x: Tensor) -> Tensor:
    return x.double().cpu().clamp_min(1e-30).log()


def _least_squares(columns: list[Tensor], target_S: Tensor) -> list[float]:
    # A whisper of ridge, so that columns that do not vary still give finite numbers.
    design_SC = torch.stack(columns, 1)
    ridge_CC = 1e-6 * len(target_S) * torch.eye(len(columns), dtype=torch.float64)
    moments_CC = design_SC.T @ design_SC + ridge_CC
    found: list[float] = torch.linalg.solve(moments_CC, design_SC.T @ target_S).tolist()
    return found
