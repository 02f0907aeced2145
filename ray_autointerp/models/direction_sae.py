"""Directions as the latents of an SAE that never fires, for the passes that clamp latents.

Clamping such a latent to c adds c times its direction to the residual stream, at the positions at
which any latent would be clamped.
"""

# X any leading dimensions, L directions, D d_model

from types import SimpleNamespace

from torch import Tensor, nn

from ray_autointerp.models.sae import Sae


def direction_sae(directions_LD: Tensor, hook_point: str) -> Sae:
    """An SAE with these decoder rows, each activation 0; it reads where it writes."""
    return Sae(_Directions(directions_LD), hook_point, hook_point)


class _Directions(nn.Module):
    """What `Sae` asks of SAELens' modules."""

    def __init__(self, directions_LD: Tensor) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(directions_LD, requires_grad=False)
        self.dtype = directions_LD.dtype
        self.cfg = SimpleNamespace(d_sae=len(directions_LD))

    def encode(self, h_XD: Tensor) -> Tensor:
        return h_XD.new_zeros(*h_XD.shape[:-1], len(self.W_dec))
