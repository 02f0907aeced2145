"""Directions as the latents of an SAE that never fires, for the passes that clamp latents.

Clamping such a latent to c adds c times its direction to the residual stream, at the positions at
which any latent would be clamped; of a cross-layer transcoder's places, a direction at each.
"""

# X any leading dimensions, L directions, S write points, D d_model

from collections.abc import Sequence
from types import SimpleNamespace

from torch import Tensor, nn

from ray_autointerp.models.sae import Sae


def direction_sae(directions_LSD: Tensor, write_points: Sequence[str]) -> Sae:
    """An SAE whose latents write these rows at these hook points, lowest first, each activation 0.
    It reads at the first.
    """
    first, *later = write_points
    sae = _Directions(directions_LSD.sum(1))
    return Sae(sae, first, first, later_points=later, decoders_LSZ=directions_LSD)


class _Directions(nn.Module):
    """What `Sae` asks of SAELens' modules."""

    def __init__(self, directions_LD: Tensor) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(directions_LD, requires_grad=False)
        self.dtype = directions_LD.dtype
        self.cfg = SimpleNamespace(d_sae=len(directions_LD))

    def encode(self, h_XD: Tensor) -> Tensor:
        return h_XD.new_zeros(*h_XD.shape[:-1], len(self.W_dec))
