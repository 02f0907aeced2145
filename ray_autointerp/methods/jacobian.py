"""JacobianProj: a decoder row through the average Jacobian, to the vocabulary (methods 9.6, 10).

To first order the mean change of the final normed states under a clamp is v J d: one D x D matrix
per hook point serves every latent of every dictionary there. VocabProj is the special case in
which J is the final norm alone. The inputs are Jacobians.
"""

# L latents (or clamped rows), N windows, D d_model, K output directions, V vocabulary
# X inputs: D, or of a latent that writes to several hook points their D side by side

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.methods.token_lists import HubStats, RankBy, SignedLists, signed_lists

SINGLE_WINDOWS = 16
"""Windows whose own Jacobians are kept: those that exact passes begin with."""


@dataclass(frozen=True)
class Jacobian:
    """From a hook point to the mean final normed state, averaged over positions of windows; from
    several hook points their Jacobians side by side, of D x X.

    `mean_DD[k, j]` is the change of output coordinate k per unit of coordinate j at every counted
    position. `singles_NDD` are sums over the counted positions of each of the first windows, and
    `counts_N` those positions, so that the mean of some is a ratio of sums.
    """

    mean_DD: Tensor
    singles_NDD: Tensor
    counts_N: Tensor
    num_windows: int
    """Windows behind the mean."""

    @property
    def num_singles(self) -> int:
        """Windows kept singly; none of a Jacobian that was fitted before."""
        return len(self.counts_N)

    def mean_of(self, num_windows: int) -> Tensor:
        """The mean [D, D] over the first windows alone; all of them beyond those kept singly."""
        if num_windows >= self.num_windows:
            return self.mean_DD
        assert num_windows <= len(self.counts_N), "these windows are not kept one by one"
        return self.singles_NDD[:num_windows].sum(0) / self.counts_N[:num_windows].sum()


def linear_change(x_LX: Tensor, mean_DX: Tensor) -> Tensor:
    """Predicted mean change [L, D] of the final normed states when the hook moves by each row."""
    return x_LX.to(mean_DX) @ mean_DX.T


def linear_window_sums(x_LX: Tensor, singles_NDX: Tensor) -> Tensor:
    """The same window by window, summed over counted positions: [L, N, D]."""
    return torch.einsum("lx,nkx->lnk", x_LX.to(singles_NDX), singles_NDX)


def jacobian_proj(
    change_LD: Tensor,
    W_U_DV: Tensor,
    num_tokens: int,
    hub: HubStats | None = None,
    rank_by: RankBy = "logit",
) -> SignedLists:
    """The tokens whose logit is predicted to rise and fall most, from `linear_change`'s rows."""
    wide = torch.promote_types(change_LD.dtype, torch.float32)
    logit_diff_LV = change_LD.to(wide) @ W_U_DV.to(wide)
    return signed_lists(logit_diff_LV, num_tokens, hub, rank_by)
