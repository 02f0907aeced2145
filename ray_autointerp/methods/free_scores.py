"""Scores of a latent that need no LLM (methods 14): what deserves one, and as input or as output.

S_in and S_out are those of Arad, Mueller and Belinkov (2505.20063): whether a latent fires on the
tokens that its decoder promotes, and whether amplifying it makes the model write them. A latent
whose S_in is high is described by what it reads, one whose S_out is high by what it does.

Read: the paper's abstract and its released code (input_score.py, output_score.py, sae_utils.py).
There the lens is the decoder row through final norm and unembedding, ranks count from 0, and
amplifying adds ten times the largest activation of any latent at the last position, the error
term kept. Ours: peaks are compared as token ids (the code tokenizes their text again), and where
no latent fires at that position the latent's own scale stands in.
"""

# B latents, V vocabulary, K lens tokens

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LENS_TOKENS = 20
"""Tokens promoted most by the decoder row through the unembedding (the source's 20)."""

MOST_EXAMPLES = 100
"""Strongest top examples that S_in looks at (the source's 100)."""

FEWEST_EXAMPLES = 10
"""S_in of fewer top examples is not a score (the source's 10)."""

AMPLIFY = 10.0
"""Largest activation at the position times this is added for S_out (the source's factor)."""


def s_in(peak_tokens: Sequence[int], lens_tokens: Sequence[int]) -> float | None:
    """Share of top examples whose peak token is among the lens tokens; None below ten examples."""
    if len(peak_tokens) < FEWEST_EXAMPLES:
        return None
    lens = set(lens_tokens)
    return sum(token in lens for token in peak_tokens) / len(peak_tokens)


@dataclass(frozen=True)
class OutputScores:
    """S_out and its two factors, [B] each."""

    s_out_B: Tensor
    best_rank_B: Tensor
    """Rank of the highest lens token after amplifying, from 0; ties go to the smaller id."""
    probability_B: Tensor
    """The largest probability among the lens tokens."""


def s_out(logits_BV: Tensor, lens_BK: Tensor) -> OutputScores:
    """(1 - best rank of the lens tokens / V) x their largest probability, after amplifying."""
    chosen_BK = logits_BV.gather(1, lens_BK)
    best_B1 = chosen_BK.max(1, keepdim=True).values
    ids_V = torch.arange(logits_BV.shape[1], device=logits_BV.device)
    first_B1 = lens_BK.masked_fill(chosen_BK < best_B1, logits_BV.shape[1]).amin(1, keepdim=True)
    is_ahead_BV = (logits_BV > best_B1) | ((logits_BV == best_B1) & (ids_V < first_B1))
    rank_B = is_ahead_BV.sum(1)
    log_total_B = logits_BV.float().logsumexp(1)
    probability_B = (best_B1[:, 0].float() - log_total_B).exp()
    return OutputScores((1 - rank_B / logits_BV.shape[1]) * probability_B, rank_B, probability_B)


@dataclass(frozen=True)
class CommonToken:
    """The token on which most of a latent's top examples peak."""

    token: int
    share: float
    """1 for a latent that fires on one token type."""


def common_token(peak_tokens: Sequence[int]) -> CommonToken | None:
    """Ties go to the smaller token id; None without examples."""
    if not peak_tokens:
        return None
    token, count = min(Counter(peak_tokens).items(), key=lambda item: (-item[1], item[0]))
    return CommonToken(token, count / len(peak_tokens))
