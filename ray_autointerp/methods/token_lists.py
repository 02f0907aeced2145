"""Promoted and suppressed tokens: the largest and smallest entries over the vocabulary.

Shared by VocabProj and TokenChange. Signs and order are kept (the released notebook lost both,
methods 7 traps 3 and 9). Tokens are ids.
"""

# B rows (latents, or latents and signs), V vocabulary, K tokens listed

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

RankBy = Literal["logit", "z"]


@dataclass(frozen=True)
class HubStats:
    """Mean and standard deviation of each token's logit over the latents of an SAE."""

    mean_V: Tensor
    sd_V: Tensor


@dataclass(frozen=True)
class TopTokens:
    """The K largest entries of each row, falling: token ids int64 and the entries."""

    ids_BK: Tensor
    values_BK: Tensor


@dataclass(frozen=True)
class TokenLists:
    """One list of tokens per row: ids, logits (or logit diffs), z-scores where there are any."""

    ids_BK: Tensor
    logits_BK: Tensor
    z_BK: Tensor | None


@dataclass(frozen=True)
class SignedLists:
    """Tokens with the largest logits, largest first, and with the smallest, smallest first."""

    promoted: TokenLists
    suppressed: TokenLists


def top_tokens(values_BV: Tensor, num_tokens: int) -> TopTokens:
    """The largest entries of each row, falling; ties go to the smaller token id.

    At most V tokens come back. `torch.topk` alone leaves ties to chance. NaN is not allowed.
    """
    num_tokens = min(num_tokens, values_BV.shape[-1])
    assert num_tokens > 0, "an empty list was asked for"
    with_next = values_BV.topk(min(num_tokens + 1, values_BV.shape[-1]), dim=-1)
    ids_BK = with_next.indices[:, :num_tokens].sort(dim=-1).values
    last_B, next_B = with_next.values[:, num_tokens - 1], with_next.values[:, -1]
    if with_next.values.shape[-1] > num_tokens and bool((last_B == next_B).any()):
        is_tied_B = last_B == next_B
        ids_BK[is_tied_B] = _smallest_ids(values_BV[is_tied_B], last_B[is_tied_B], num_tokens)
    sorted_BK = values_BV.gather(-1, ids_BK).sort(dim=-1, descending=True, stable=True)
    return TopTokens(ids_BK.gather(-1, sorted_BK.indices), sorted_BK.values)


def _smallest_ids(values_BV: Tensor, last_B: Tensor, num_tokens: int) -> Tensor:
    """All ids above the last value kept, and of those equal to it the smallest that fit; rising."""
    is_above_BV = values_BV > last_B[:, None]
    is_last_BV = values_BV == last_B[:, None]
    room_B1 = num_tokens - is_above_BV.sum(-1, keepdim=True)
    is_last_BV &= is_last_BV.cumsum(-1) <= room_B1
    return (is_above_BV | is_last_BV).nonzero()[:, 1].reshape(len(values_BV), num_tokens)


def signed_lists(
    logits_BV: Tensor, num_tokens: int, hub: HubStats | None, rank_by: RankBy
) -> SignedLists:
    """Promoted and suppressed tokens, ranked by logit or by z-score over latents.

    A z-score takes away what a token gets from every latent alike, the hubs that fill raw lists
    (methods 9.9). Ranking by z needs `hub`.
    """
    z_BV = None if hub is None else z_scores(logits_BV, hub)
    if rank_by == "z":
        assert z_BV is not None, "ranking by z needs hub statistics"
        ranked_BV = z_BV
    else:
        ranked_BV = logits_BV
    return SignedLists(
        promoted=_lists(top_tokens(ranked_BV, num_tokens).ids_BK, logits_BV, z_BV),
        suppressed=_lists(top_tokens(-ranked_BV, num_tokens).ids_BK, logits_BV, z_BV),
    )


def z_scores(logits_BV: Tensor, hub: HubStats) -> Tensor:
    """(logit - mean) / sd per token; 0 for a token that every latent moves alike."""
    mean_V = hub.mean_V.to(logits_BV)
    sd_V = hub.sd_V.to(logits_BV)
    z_BV = (logits_BV - mean_V) / sd_V.where(sd_V > 0, torch.ones_like(sd_V))
    return z_BV.where(sd_V > 0, torch.zeros_like(z_BV))


def _lists(ids_BK: Tensor, logits_BV: Tensor, z_BV: Tensor | None) -> TokenLists:
    z_BK = None if z_BV is None else z_BV.gather(-1, ids_BK)
    return TokenLists(ids_BK, logits_BV.gather(-1, ids_BK), z_BK)
