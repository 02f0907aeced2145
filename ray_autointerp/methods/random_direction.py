"""Random directions in residual space, as controls of decoder rows (methods 16)."""

# L latents, S write points, D d_model

from collections.abc import Sequence

import torch
from torch import Tensor


def random_directions(rows_LSD: Tensor, seeds_L: Sequence[int]) -> Tensor:
    """For each row a direction [L, S, D], uniform over the sphere of the row's norm, in its dtype.

    A direction follows from its latent's seed, its row's norm and how many rows the latent has.
    Drawn on the CPU.
    """
    drawn_LSD = torch.stack(
        [
            torch.randn(
                rows_LSD.shape[1:],
                generator=torch.Generator().manual_seed(seed),
                dtype=torch.float64,
            )
            for seed in seeds_L
        ]
    ).to(rows_LSD.device)
    norms_LS1 = rows_LSD.double().norm(dim=-1, keepdim=True)
    directions_LSD: Tensor = drawn_LSD / drawn_LSD.norm(dim=-1, keepdim=True) * norms_LS1
    return directions_LSD.to(rows_LSD.dtype)
