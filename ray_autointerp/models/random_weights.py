"""Random weights in place of trained ones: an SAE as a floor for every score.

A score that random directions reach as well says nothing of training. Heap et al. (2501.17727) made
that point with random transformers, of which each weight keeps its scale; here the subject stays
and the SAE is drawn. Of each latent are kept the norms of what it reads and writes and the cosine
between the two, so that a tied SAE stays tied; of the SAE, shapes, k and the decoder's bias. The
encoder's biases are 0: they were learned for directions that are gone.
"""

# L d_sae, D d_model

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from ray_autointerp.errors import SaeError
from ray_autointerp.records.keys import derive_seed

_TOP_K = ("topk", "abstopk")


def require_top_k(source: str, architecture: str) -> None:
    """Raises SaeError unless k says how many latents of an SAE are active.

    Where a threshold decides, as many would be active only by a threshold found on text.
    """
    if architecture not in _TOP_K:
        raise SaeError(
            f"random_like needs an SAE of architecture {' or '.join(_TOP_K)}, where k says how "
            f"many latents are active; {source} is `{architecture}`, whose thresholds fit no "
            "random weights."
        )


def random_seed(run_seed: int, sae_id: str) -> int:
    """Of an SAE's random weights: two SAEs of one run have different ones."""
    return derive_seed(run_seed, "random weights", sae_id)


@torch.no_grad()
def randomize(sae: Any, seed: int) -> None:
    """Draw the weights of SAELens' TopK object anew, in place; the same on every device."""
    encoder_LD, decoder_LD = sae.W_enc.T.cpu().float(), sae.W_dec.cpu().float()
    draws = torch.Generator().manual_seed(seed)
    reads_LD = normalize(torch.randn(encoder_LD.shape, generator=draws), dim=-1)
    others_LD = torch.randn(decoder_LD.shape, generator=draws)
    others_LD = normalize(others_LD - _along(reads_LD, others_LD), dim=-1)
    # In float64: rounding of a cosine of 1 would untie a tied latent by its square root.
    cosine_L1 = cosine_similarity(encoder_LD.double(), decoder_LD.double()).clamp(-1, 1)[:, None]
    sine_L1 = (1 - cosine_L1**2).sqrt()
    writes_LD = cosine_L1.float() * reads_LD + sine_L1.float() * others_LD
    sae.W_enc.copy_((_norms(encoder_LD) * reads_LD).T)
    sae.W_dec.copy_(_norms(decoder_LD) * writes_LD)
    sae.b_enc.zero_()


def _along(units_LD: Tensor, rows_LD: Tensor) -> Tensor:
    """Each row's part along a direction of its own."""
    return (units_LD * rows_LD).sum(-1, keepdim=True) * units_LD


def _norms(rows_LD: Tensor) -> Tensor:
    norms_L1: Tensor = rows_LD.norm(dim=-1, keepdim=True)
    return norms_L1
