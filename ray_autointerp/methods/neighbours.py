"""Neighbours: for each latent the others with the most similar decoder direction.

Similarity is the cosine of decoder rows. The input is `W_dec`.
"""

# L latents, Q latents asked about, D d_model, K neighbours

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ray_autointerp.methods.token_lists import top_tokens


@dataclass(frozen=True)
class Neighbours:
    """Nearest latents of each latent asked about, most similar first, never itself."""

    latents_QK: Tensor
    cosines_QK: Tensor


def nearest_neighbours(
    W_dec_LD: Tensor, latents_Q: Tensor, num_neighbours: int, chunk_size: int = 256
) -> Neighbours:
    """The latents with the largest decoder cosine; ties go to the smaller latent.

    At most L - 1 come back. A decoder row of zeros has cosine 0 with everything. Memory is
    `chunk_size` x L numbers at a time.
    """
    num_neighbours = min(num_neighbours, len(W_dec_LD) - 1)
    if num_neighbours <= 0 or len(latents_Q) == 0:
        none_QK = W_dec_LD.new_zeros(len(latents_Q), max(num_neighbours, 0))
        return Neighbours(none_QK.long(), none_QK.float())
    unit_LD = normalize(W_dec_LD.float(), dim=-1)
    ids, cosines = [], []
    for chunk_Q in torch.split(latents_Q, chunk_size):
        cosines_QL = unit_LD[chunk_Q] @ unit_LD.T
        cosines_QL[torch.arange(len(chunk_Q), device=chunk_Q.device), chunk_Q] = -torch.inf
        nearest = top_tokens(cosines_QL, num_neighbours)
        ids.append(nearest.ids_BK)
        cosines.append(nearest.values_BK.clamp(-1, 1))
    return Neighbours(torch.cat(ids), torch.cat(cosines))
