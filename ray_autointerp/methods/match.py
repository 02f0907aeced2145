"""Match: which latent of an SAE is which latent of an earlier one, by their decoder rows.

The field pairs dictionaries one to one, maximising the cosine of decoder rows (the Hungarian
method: Paulo and Belrose 2025, arXiv 2501.16615, who call a latent shared above 0.7; Song et al.
2025, arXiv 2505.20254). Here the problem is sparse: only a latent's nearest are candidates, and a
latent may stay alone. Widths may differ.
"""

# N latents of the new SAE, M of the old one, L of either, D d_model, K nearest kept,
# B and C latents in a block, P candidate pairs

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor
from torch.nn.functional import normalize

NONE = -1
"""In place of a latent where there is none."""

Latents = npt.NDArray[np.int64]
Cosines = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Matches:
    """One entry per new latent; NaN where the latent or the other that it asks for is missing."""

    olds_N: Latents
    """The old latent that this is, `NONE` for a birth."""
    cosines_N: Cosines
    """Of the two decoder rows."""
    runner_up_old_N: Cosines
    """The new latent's largest cosine with any other old one: for a birth, with any."""
    runner_up_new_N: Cosines
    """The old latent's largest cosine with any other new one: high where a feature was split."""
    lost: Latents
    """Old latents that no new one took, rising."""

    @property
    def margins_N(self) -> Cosines:
        """The cosine less the larger runner-up: about 0 or less where the match is ambiguous."""
        runner_up_N: Cosines = np.fmax(self.runner_up_old_N, self.runner_up_new_N)
        return self.cosines_N - runner_up_N


def match(
    W_new_ND: Tensor,
    W_old_MD: Tensor,
    threshold: float,
    num_candidates: int = 8,
    block_size: int = 2048,
) -> Matches:
    """Pair latents one to one, only those whose cosine is above the threshold (between 0 and 1).

    Maximises the sum over pairs of cosine less threshold, so that a birth and a death cost nothing.
    With whole cosines two pairs of 0.71 would be worth more than one of 0.99 that they break.

    Exact where no latent has more than `num_candidates` partners above the threshold; else pairs
    that are among the nearest of neither side are left out. Which of several equal rows is taken is
    left open; a row of zeros is never matched. Memory beside the weights: a few blocks of
    `block_size` squared, and the candidates of both sides.
    """
    assert 0 < threshold < 1 and num_candidates > 0, "no such threshold or number of candidates"
    of_new, of_old = _nearest(W_new_ND, W_old_MD, max(num_candidates, 2), block_size)
    olds_N, cosines_N = _assign(of_new, of_old, threshold, num_candidates)
    (matched,) = np.nonzero(olds_N != NONE)
    news_M = np.full(len(W_old_MD), NONE)
    news_M[olds_N[matched]] = matched
    runner_up_new_N = np.full(len(olds_N), np.nan, np.float32)
    runner_up_new_N[matched] = of_old.runners_up(news_M)[olds_N[matched]]
    (lost,) = np.nonzero(news_M == NONE)
    return Matches(olds_N, cosines_N, of_new.runners_up(olds_N), runner_up_new_N, lost)


class _Nearest:
    """The largest cosines of each latent of one side, falling, and with whom."""

    def __init__(self, num_latents: int, num_kept: int, device: torch.device) -> None:
        self.cosines_LK = torch.full((num_latents, num_kept), -torch.inf, device=device)
        self.others_LK = torch.full((num_latents, num_kept), NONE, device=device)

    def add(self, first: int, cosines_BC: Tensor, first_other: int) -> None:
        """A block of cosines, its rows from `first` on, its columns from `first_other` on."""
        rows = slice(first, first + len(cosines_BC))
        num_kept = self.cosines_LK.shape[1]
        found = cosines_BC.topk(min(num_kept, cosines_BC.shape[1]))
        cosines = torch.cat([self.cosines_LK[rows], found.values], dim=1)
        others = torch.cat([self.others_LK[rows], found.indices + first_other], dim=1)
        largest = cosines.topk(num_kept)
        self.cosines_LK[rows] = largest.values
        self.others_LK[rows] = others.gather(1, largest.indices)

    def runners_up(self, partners_L: Latents) -> Cosines:
        """Each latent's largest cosine with another than its partner; NaN without another."""
        is_partner_L = self.others_LK[:, 0].cpu().numpy() == partners_L
        cosines_L2 = self.cosines_LK[:, :2].cpu().numpy()
        found_L: Cosines = np.where(is_partner_L, cosines_L2[:, 1], cosines_L2[:, 0])
        return np.where(np.isneginf(found_L), np.float32(np.nan), found_L)


def _nearest(
    W_new_ND: Tensor, W_old_MD: Tensor, num_kept: int, block_size: int
) -> tuple[_Nearest, _Nearest]:
    """Of the new latents among the old ones and the other way, from one pass over the cosines."""
    of_new = _Nearest(len(W_new_ND), num_kept, W_new_ND.device)
    of_old = _Nearest(len(W_old_MD), num_kept, W_old_MD.device)
    for first_new in range(0, len(W_new_ND), block_size):
        unit_BD = _unit(W_new_ND[first_new : first_new + block_size])
        for first_old in range(0, len(W_old_MD), block_size):
            unit_CD = _unit(W_old_MD[first_old : first_old + block_size])
            cosines_BC = (unit_BD @ unit_CD.T).clamp_(-1, 1)
            of_new.add(first_new, cosines_BC, first_old)
            of_old.add(first_old, cosines_BC.T.contiguous(), first_new)
    return of_new, of_old


def _unit(rows_BD: Tensor) -> Tensor:
    return normalize(rows_BD.float(), dim=-1)


def _assign(
    of_new: _Nearest, of_old: _Nearest, threshold: float, num_candidates: int
) -> tuple[Latents, Cosines]:
    """The old latent of each new one, and their cosine."""
    num_new, num_old = len(of_new.cosines_LK), len(of_old.cosines_LK)
    # Every new latent has a column of its own beside the old latents: to take that one is to stay
    # alone. So a full matching always exists, and old latents left over need no rows. All weights
    # are raised by 1, once for each new latent, as the solver refuses zeros.
    width, alone_N = num_old + num_new, np.arange(num_new)
    pairs_P, cosines_P = _candidates(of_new, of_old, threshold, num_candidates, width)
    new_P, old_P = np.divmod(pairs_P, max(width, 1))
    columns = np.concatenate([old_P, num_old + alone_N])
    weights = np.concatenate([1 + cosines_P.astype(np.float64) - threshold, np.ones(num_new)])
    graph = coo_array(
        (weights, (np.concatenate([new_P, alone_N]), columns)), shape=(num_new, width)
    )
    _, columns_N = min_weight_full_bipartite_matching(graph.tocsr(), maximize=True)
    (matched,) = np.nonzero(columns_N < num_old)
    olds_N, cosines_N = np.full(num_new, NONE), np.full(num_new, np.nan, np.float32)
    olds_N[matched] = columns_N[matched]
    pairs = matched * width + olds_N[matched]
    cosines_N[matched] = cosines_P[np.searchsorted(pairs_P, pairs)]
    return olds_N, cosines_N


def _candidates(
    of_new: _Nearest, of_old: _Nearest, threshold: float, num_candidates: int, width: int
) -> tuple[Latents, Cosines]:
    """Pairs above the threshold that are nearest for either side, as new * width + old, rising."""
    pairs, cosines = [], []
    for side, is_new in ((of_new, True), (of_old, False)):
        cosines_LK = side.cosines_LK[:, :num_candidates].cpu().numpy()
        own_P, rank_P = np.nonzero(cosines_LK > threshold)
        other_P = side.others_LK[:, :num_candidates].cpu().numpy()[own_P, rank_P]
        pairs.append(own_P * width + other_P if is_new else other_P * width + own_P)
        cosines.append(cosines_LK[own_P, rank_P])
    pairs_P, first_P = np.unique(np.concatenate(pairs), return_index=True)
    return pairs_P, np.concatenate(cosines)[first_P]
