"""Sampling noise by counter, so that steered text does not depend on what shares its batch.

Gumbel noise added to logits / temperature makes the argmax a sample (methods 9.10). Each number
is a function of (row seed, position, token id) alone: SplitMix64 applied to a counter, on the
device of the seeds, the same integers on every device. Knows no model.
"""

# R rows, V vocabulary

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def gumbel_noise(seeds_R: Tensor, positions_R: Tensor, num_tokens: int) -> Tensor:
    """Standard Gumbel noise [R, V] float32 for one sampling step.

    `seeds_R` int64 come from hashing (latent, prompt, strength, sign, draw); `positions_R` int64
    is how many tokens each row has generated. More tokens extend a row, never change it.
    """
    row_R = _mix(_mix(seeds_R + GOLDEN) + (positions_R + 1) * GOLDEN)
    counter_V = torch.arange(1, num_tokens + 1, device=seeds_R.device) * GOLDEN
    bits_RV = _mix(row_R[:, None] + counter_V)
    uniform_RV = (_shift_right(bits_RV, 12).double() + 0.5) * 2.0**-52
    return uniform_RV.log_().neg_().log_().neg_().float()


def sample(logits_RV: Tensor, noise_RV: Tensor, temperature: float) -> Tensor:
    """Token ids [R] sampled at a temperature; 0 takes the largest logit. Ties: smaller id."""
    scores_RV = logits_RV.float()
    if temperature > 0:
        scores_RV = scores_RV / temperature + noise_RV
    return scores_RV.argmax(-1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 on int64 that wraps around (Steele et al. 2014)."""
    x = (x ^ _shift_right(x, 30)) * MIX_1
    x = (x ^ _shift_right(x, 27)) * MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
