"""The ceiling of the output score: what a judge could tell who knew everything a latent does.

A linear observer knows the mean logit diff of each latent and adds it up over the tokens of a text
set. On the sets of a target and a partner it is asked what the two-set judge is asked: does the
target's diff speak more for the target's set than a stranger's diff does? Its win rate bounds a
description's; where it is no better than with another latent's diff in the target's place, nothing
that the judge could be told would help (methods 19).

A mean logit diff is `mean_change @ W_U`, so a set's sum is `mean_change @ set_D` with set_D the sum
of its tokens' columns of W_U: the vocabulary never appears. What is common to all diffs cancels in
every comparison, so centring them over latents changes nothing.
"""

# K other panel latents, S text sets, N pairs of a partner and a set, D d_model

from dataclasses import dataclass

import torch
from torch import Tensor

NULL_LEVEL = 0.95
"""Share of the other latents' diffs that a ceiling must beat to be off chance."""


@dataclass(frozen=True)
class Ceiling:
    """The observer's win rate, and the quantile of those with another latent's diff in its place.

    Null where the panel has too few others for a partner and a stranger.
    """

    win_rate: float | None
    null_quantile: float | None

    @property
    def is_at_chance(self) -> bool:
        """Whether the observer does no better than the null."""
        if self.win_rate is None or self.null_quantile is None:
            return False
        return self.win_rate < self.null_quantile


def output_ceiling(
    own_D: Tensor, own_SD: Tensor, others_KD: Tensor, others_KSD: Tensor, has_KS: Tensor
) -> Ceiling:
    """The ceiling of one latent over all partners and strangers of the panel, float64.

    `own_D` and `others_KD` are mean changes of the final normed state, `own_SD` and `others_KSD`
    the sums of the unembedding's columns over the tokens of each text set; `has_KS` says which
    sets the others have (own ones that are lacking are left out by the caller). The others do not
    include the latent itself.
    """
    said_N, said_KN, is_partner_KN = _said(own_D, own_SD, others_KD, others_KSD, has_KS)
    null = []
    for other, said_instead_N in enumerate(said_KN):
        is_stranger_KN = ~is_partner_KN & ~is_partner_KN[other]
        is_stranger_KN[other] = False
        null.append(_win_rate(said_instead_N, said_KN, is_stranger_KN))
    rates = torch.tensor([rate for rate in null if rate is not None], dtype=torch.float64)
    return Ceiling(
        _win_rate(said_N, said_KN, ~is_partner_KN),
        float(rates.quantile(NULL_LEVEL)) if len(rates) else None,
    )


def observed_win_rate(
    own_D: Tensor, own_SD: Tensor, others_KD: Tensor, others_KSD: Tensor, has_KS: Tensor
) -> float | None:
    """The win rate alone; arguments as of `output_ceiling`, in any space that tokens add up in."""
    said_N, said_KN, is_partner_KN = _said(own_D, own_SD, others_KD, others_KSD, has_KS)
    return _win_rate(said_N, said_KN, ~is_partner_KN)


def _said(
    own_D: Tensor, own_SD: Tensor, others_KD: Tensor, others_KSD: Tensor, has_KS: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """By pair, what own and others' diffs say for the own set, and who of the others is partner."""
    partner_N, set_N = has_KS.nonzero(as_tuple=True)
    # Subtracted first: of equal sets every diff says exactly 0.
    shown_ND = own_SD.double()[set_N] - others_KSD.double()[partner_N, set_N]
    is_partner_KN = torch.arange(len(others_KD), device=partner_N.device)[:, None] == partner_N
    return shown_ND @ own_D.double(), others_KD.double() @ shown_ND.T, is_partner_KN


def _win_rate(own_N: Tensor, strangers_KN: Tensor, is_stranger_KN: Tensor) -> float | None:
    """Share of pairs and strangers in which the own diff says more, ties 1/2; None of none."""
    wins_KN = (1 + (own_N - strangers_KN).sign()) / 2
    count = int(is_stranger_KN.sum())
    return float(wins_KN[is_stranger_KN].sum()) / count if count else None
