"""What TokenChange's estimators say of the sample's latents, on more and more windows."""

# B latents, N windows of the explain side, D d_model

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.methods.control_variate import control_variate, windows_needed
from ray_autointerp.methods.jacobian import Jacobian
from ray_autointerp.passes.change_modes import variance_model
from ray_autointerp.passes.sample_passes import SamplePasses
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


@dataclass(frozen=True)
class Estimate:
    """Means [B, D] by one estimator, and of each latent the window means that scatter, [N, D]."""

    estimator: str
    mean_BD: Tensor
    scattered: Sequence[Tensor]
    is_corrected: Sequence[bool]


def exact_estimates(passes: SamplePasses, as_run: Sequence[int | None]) -> Iterator[Estimate]:
    """Exact and corrected on more and more windows, then on as many as a run would take."""
    counts_N = passes.explain_counts_N
    num_latents = len(passes.latents)
    for count in curve(len(counts_N), len(counts_N)):
        parts = [_exact(passes, i, count) for i in range(num_latents)]
        yield _joined("exact", parts, [False] * num_latents)
    singles = min(passes.linear_BND.shape[1], len(counts_N))
    for count in curve(singles, singles) if singles else ():
        parts = [_corrected(passes, i, count) for i in range(num_latents)]
        yield _joined("control_variate", parts, [True] * num_latents)
    parts = [
        _exact(passes, i, len(counts_N)) if count is None else _corrected(passes, i, count)
        for i, count in enumerate(as_run)
    ]
    yield _joined("token_change", parts, [count is not None for count in as_run])


def windows_as_run(
    context: WorkerContext,
    strength: str,
    variances: list[Row],
    jacobian: Jacobian,
    passes: SamplePasses,
) -> list[int | None]:
    """Of each latent the windows that TokenChange would run, None for plainly all of them.

    By a variance model fitted on the other latents: one's own windows must not choose themselves.
    """
    num_windows = context.run.config.evidence.change_windows
    singles = min(passes.linear_BND.shape[1], num_windows)
    if not singles:
        return [None] * len(passes.latents)
    known = [row for row in variances if row["status"] == "ok"]
    counts: list[int | None] = []
    for own in [row for row in known if row["strength"] == strength]:
        model = variance_model([row for row in known if row["latent"] != own["latent"]])
        count = None
        if model is not None:
            norm, first, linear = (
                torch.tensor([own[name]]) for name in ("clamp_norm", "first_residual", "linear")
            )
            (count,) = windows_needed(
                model.residual_variance(norm, first),
                model.exact_variance(linear),
                linear,
                num_windows,
                jacobian.num_windows,
            )
        counts.append(count if count is not None and count <= singles else None)
    return counts


def curve(singles: int, all_windows: int) -> list[int]:
    """Numbers of windows to judge at: 1, 2, 4, ... of the windows kept singly, and all."""
    powers = [2**i for i in range(10) if 2**i <= min(singles, all_windows)]
    return sorted({*powers, all_windows})


def _exact(passes: SamplePasses, index: int, count: int) -> tuple[Tensor, Tensor]:
    """Mean [D] over the first windows, and their own means [N, D]."""
    counts_N, sums_ND = passes.explain_counts_N[:count], passes.explain_BND[index, :count]
    return sums_ND.sum(0) / counts_N.sum(), sums_ND / counts_N[:, None]


def _corrected(passes: SamplePasses, index: int, count: int) -> tuple[Tensor, Tensor]:
    """The same with the Jacobian as control variate; what scatters is exact minus linear."""
    counts_N = passes.explain_counts_N[:count]
    exact_ND, linear_ND = passes.explain_BND[index, :count], passes.linear_BND[index, :count]
    mean_1D = control_variate(
        exact_ND[None], linear_ND[None], counts_N, passes.linear_mean_BD[index, None]
    )
    return mean_1D[0], (exact_ND - linear_ND) / counts_N[:, None]


def _joined(
    estimator: str, parts: Sequence[tuple[Tensor, Tensor]], is_corrected: Sequence[bool]
) -> Estimate:
    means, scattered = zip(*parts, strict=True)
    return Estimate(estimator, torch.stack(means), scattered, is_corrected)
