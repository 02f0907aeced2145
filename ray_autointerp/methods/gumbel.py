"""Sampling noise by counter, so that steered text does not depend on what shares its batch.

Gumbel noise added to logits / temperature makes the argmax a sample (methods 9.10). Each number
is a function of (row seed, position, token id) alone: SplitMix64 applied to a counter, on the
device of the seeds, the same integers on every device. Independent of any model.
"""

# R rows, V vocabulary

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
# Numbers made at once: on a CPU what stays in its cache, five times faster than all rows together.
CHUNK_CPU, CHUNK_ELSEWHERE = 2**16, 2**26


def gumbel_noise(seeds_R: Tensor, positions_R: Tensor, num_tokens: int) -> Tensor:
    """Standard Gumbel noise [R, V] float32 for one sampling step.

    `seeds_R` int64 come from hashing (latent, prompt, strength, sign, draw); `positions_R` int64
    is how many tokens each row has generated. More tokens extend a row, never change it.
    """
    row_R = _mix(_mix(seeds_R + GOLDEN) + (positions_R + 1) * GOLDEN)
    counter_V = torch.arange(1, num_tokens + 1, device=seeds_R.device) * GOLDEN
    noise_RV = torch.empty(len(row_R), num_tokens, device=seeds_R.device)
    chunk = CHUNK_CPU if seeds_R.device.type == "cpu" else CHUNK_ELSEWHERE
    size = max(1, chunk // max(1, num_tokens))
    for start in range(0, len(row_R), size):
        rows = slice(start, start + size)
        bits_CV = _mix(row_R[rows, None] + counter_V)
        _write_gumbel(_shift_right(bits_CV, 12), noise_RV[rows])
    return noise_RV


def sample(logits_RV: Tensor, noise_RV: Tensor, temperature: float) -> Tensor:
    """Token ids [R] sampled at a temperature; 0 takes the largest logit. Ties: smaller id."""
    scores_RV = logits_RV.float()
    if temperature > 0:
        scores_RV = scores_RV / temperature + noise_RV
    return scores_RV.argmax(-1)


def _write_gumbel(bits_CV: Tensor, out_CV: Tensor) -> None:
    """-log(-log(1 - w)) with w = (bits + 1/2) / 2^52, in float32.

    In w and not in 1 - w, because float32 has its digits near 0, where the large noise is that
    decides a sample. At the other end w is kept below 1, which bounds the noise at -2.8.
    """
    out_CV.copy_(bits_CV).add_(0.5).mul_(-(2.0**-52)).clamp_(min=-1 + 2.0**-24)
    out_CV.log1p_().neg_().log_().neg_()


def _mix(x: Tensor) -> Tensor:
    """Finalise as SplitMix64 does, in place, on int64 that wraps around (Steele et al. 2014)."""
    x.bitwise_xor_(_shift_right(x, 30)).mul_(MIX_1)
    x.bitwise_xor_(_shift_right(x, 27)).mul_(MIX_2)
    return x.bitwise_xor_(_shift_right(x, 31))


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift as unsigned: torch's own shift keeps the sign."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)
