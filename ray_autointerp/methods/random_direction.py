"""Random directions in residual space, as controls of decoder rows (methods 16)."""

# L directions, D d_model

from collections.abc import Sequence

import torch
from torch import Tensor


def random_directions(rows_LD: Tensor, seeds_L: Sequence[int]) -> Tensor:
    """For each row a direction [L, D], uniform over the sphere of the row's norm, in its dtype.

    A direction follows from the row's norm and seed alone. Drawn on the CPU.
    """
    drawn_LD = torch.stack(
        [
            torch.randn(
                rows_LD.shape[1],
                generator=torch.Generator().manual_seed(seed),
                dtype=torch.float64,
            )
            for seed in seeds_L
        ]
    ).to(rows_LD.device)
    norms_L1 = rows_LD.double().norm(dim=1, keepdim=True)
    directions_LD: Tensor = drawn_LD / drawn_LD.norm(dim=1, keepdim=True) * norms_L1
    return directions_LD.to(rows_LD.dtype)
