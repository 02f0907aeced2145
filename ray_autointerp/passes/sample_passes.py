"""The exact passes that agreement is judged on: the sample's latents at one clamp value each.

On both sides of the split, window by window, with what is linear about them.
"""

# B latents of the sample, N windows of the explain side, M of the score side, D d_model

from dataclasses import dataclass

from torch import Tensor

from ray_autointerp.methods.jacobian import Jacobian, linear_change, linear_window_sums
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.passes.exact_sums import exact_sums
from ray_autointerp.runs.context import WorkerContext


@dataclass(frozen=True)
class SamplePasses:
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


def sample_passes(
    context: WorkerContext, sae_id: str, latents: list[int], value_B: Tensor, jacobian: Jacobian
) -> SamplePasses:
    """Clamp every latent on all windows of both sides."""
    evidence, sae = context.run.config.evidence, context.sae(sae_id)
    explain, score = (
        exact_sums(context, sae_id, latents, value_B, windows_WT)
        for windows_WT in (
            change_windows(context.tables, "explain", evidence.change_windows),
            change_windows(context.tables, "score", evidence.agreement_windows),
        )
    )
    x_BX = (sae.written_LX[latents] * value_B[:, None]).float()
    return SamplePasses(
        latents,
        value_B,
        x_BX.norm(dim=1),
        explain.sums_BWD,
        explain.counts_W,
        score.sums_BWD,
        score.counts_W,
        linear_window_sums(x_BX, jacobian.singles_NDD),
        linear_change(x_BX, jacobian.mean_DD),
    )
