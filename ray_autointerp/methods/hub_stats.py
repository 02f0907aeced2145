"""Hub statistics in closed form: each token's mean and sd over all latents (methods 9.9).

With x_f the mapped decoder rows (through the final norm for VocabProj, through the Jacobian for
JacobianProj), mean_t = w_t . mean(x) and var_t = w_t' Cov(x) w_t: one D x D covariance and V D^2
multiplications for an SAE of any width. The inputs are rows and the unembedding.
"""

# L latents, D d_model, V vocabulary

import torch
from torch import Tensor

from ray_autointerp.methods.token_lists import HubStats


def hub_stats(
    x_LD: Tensor, W_U_DV: Tensor, b_U_V: Tensor | None = None, chunk_size: int = 4096
) -> HubStats:
    """Mean and population standard deviation over latents of the logits x W_U + b_U.

    Accumulated in float64 around the mean (the one-pass formula cancels), returned in float32.
    """
    assert len(x_LD) > 0, "hub statistics of no latents"
    mean_D = x_LD.new_zeros(x_LD.shape[1], dtype=torch.float64)
    for x_CD in torch.split(x_LD, chunk_size):
        mean_D += x_CD.double().sum(0)
    mean_D /= len(x_LD)
    cov_DD = x_LD.new_zeros((len(mean_D), len(mean_D)), dtype=torch.float64)
    for x_CD in torch.split(x_LD, chunk_size):
        centred_CD = x_CD.double() - mean_D
        cov_DD += centred_CD.T @ centred_CD
    cov_DD /= len(x_LD)
    means, variances = [], []
    for W_U_DC in torch.split(W_U_DV, chunk_size, dim=1):
        columns_DC = W_U_DC.double()
        means.append(mean_D @ columns_DC)
        variances.append(((cov_DD @ columns_DC) * columns_DC).sum(0))
    mean_V = torch.cat(means)
    if b_U_V is not None:
        mean_V = mean_V + b_U_V.double()
    return HubStats(mean_V.float(), torch.cat(variances).clamp_min(0).sqrt().float())
