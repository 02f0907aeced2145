"""Writes of a cross-layer transcoder's latent above the site at which a pass is resumed.

Such a latent writes into what the MLP of several blocks adds to the residual stream, along a
decoder row of its own for each. Clamping it adds (v - a) d_s at every write site s; what is there
stays, as the pass makes it.
"""

# B rows, T positions, S write sites, D d_model

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ray_autointerp.models.hook_point import Site


@dataclass(frozen=True)
class LaterWrites:
    """What a clamp adds at the write sites above its first."""

    sites: tuple[Site, ...]
    change_BT: Tensor
    """Change of the latent's activation; 0 where nothing is to be added."""
    rows_BSD: Tensor
    """Decoder rows, in any dtype."""

    def added_to(self, h_BTD: Tensor, site: Site) -> Tensor:
        """The residual stream after a write at the site; as it is at a site without one. Computed
        in float32 at least, and rounded once.
        """
        if site not in self.sites:
            return h_BTD
        wide, device = torch.promote_types(h_BTD.dtype, torch.float32), h_BTD.device
        rows_B1D = self.rows_BSD[:, self.sites.index(site), None].to(device, wide)
        change_BT1 = self.change_BT[..., None].to(device, wide)
        return (h_BTD.to(wide) + change_BT1 * rows_B1D).to(h_BTD.dtype)

    def part(self, rows: slice) -> "LaterWrites":
        """Of some rows."""
        return replace(self, change_BT=self.change_BT[rows], rows_BSD=self.rows_BSD[rows])

    def in_whole_windows(self, places_BT: Tensor, num_positions: int) -> "LaterWrites":
        """Of rows of `num_positions`, in which the positions here are at `places_BT`."""
        whole_BT = self.change_BT.new_zeros(len(self.change_BT), num_positions)
        return replace(self, change_BT=whole_BT.scatter(1, places_BT, self.change_BT))


@dataclass(frozen=True)
class Moved:
    """The residual stream at a site after a clamp, and what the clamp adds above."""

    h_BTD: Tensor
    later: LaterWrites


Change = Callable[[Tensor, Tensor], Moved]
"""A clamp of the residual stream at a site, given it and what latents read."""
