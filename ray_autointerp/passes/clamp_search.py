"""The search for clamp values that move the model by KL targets, on the neutral prompts.

The same for latents and for the random directions that are their controls (methods 16).
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ray_autointerp.methods.steering import Calibration, Curve, KLSearch
from ray_autointerp.models.clamped_pass import CleanRun, clean_run, next_token_kl
from ray_autointerp.models.sae import Sae
from ray_autointerp.passes.neutral_prompts import neutral_prompt_ids
from ray_autointerp.runs.context import WorkerContext


def neutral_runs(context: WorkerContext, sae: Sae, latents: Sequence[int]) -> list[CleanRun]:
    """The clean run of each neutral prompt, with the activations of these latents."""
    return [
        clean_run(context.subject, sae, latents, torch.tensor([ids]))
        for ids in neutral_prompt_ids(context)
    ]


def search_clamps(
    context: WorkerContext,
    sae: Sae,
    prompts: Sequence[CleanRun],
    curves: Sequence[Curve],
    kl_targets: Sequence[float],
) -> list[Calibration]:
    """What each curve is clamped to for each target, by KL(clean || clamped) of the next token."""
    search = KLSearch(curves, kl_targets)
    while len((asked := search.next_values()).curves_N):
        tried = [curves[c].latent for c in asked.curves_N]
        search.observe(mean_kl(next_token_kl, context, sae, prompts, tried, asked.clamp_values_N))
    return search.result()


def mean_kl(
    measure: Callable[..., torch.Tensor],
    context: WorkerContext,
    sae: Sae,
    prompts: Sequence[CleanRun],
    latents: Sequence[int],
    values_N: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Mean over prompts of one KL, per latent and clamp value, `micro_batch` rows at a time."""

    def mean(rows: slice) -> npt.NDArray[np.float64]:
        values_B = torch.tensor(values_N[rows], dtype=torch.float32, device=context.subject.device)
        kl_B = np.zeros(len(values_B))
        for clean in prompts:
            found_B = measure(context.subject, sae, clean, latents[rows], values_B)
            kl_B += found_B.cpu().numpy() / len(prompts)
        return kl_B

    size = context.run.config.operations.micro_batch
    parts = context.subject.halving.run(len(latents), size, mean)
    return np.concatenate([np.zeros(0), *parts])
