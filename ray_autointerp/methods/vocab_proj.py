"""VocabProj: the tokens that a latent's decoder direction promotes and suppresses (methods 4.2).

w = W_U norm(d_f) with the subject's final norm; no forward pass. Promoted and suppressed lists
are kept apart. A final softcap is monotone and is left out. The inputs are the norm's weights and
the unembedding.
"""

# L latents, D d_model, V vocabulary, K tokens listed

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ray_autointerp.methods.token_lists import (
    HubStats,
    RankBy,
    SignedLists,
    TokenLists,
    signed_lists,
)


@dataclass(frozen=True)
class FinalNorm:
    """The norm before the unembedding, with the gain as it is multiplied (Gemma's 1 + w).

    `layer` centres and scales to unit variance, `rms` scales to unit mean square, `none` does
    nothing. A norm folded into W_U has gain 1 and no bias.
    """

    kind: Literal["layer", "rms", "none"]
    gain_D: Tensor
    bias_D: Tensor | None = None
    eps: float = 1e-5


def apply_norm(x_LD: Tensor, norm: FinalNorm) -> Tensor:
    """The rows after the final norm, in float32 or the wider of the dtypes given."""
    x_LD = x_LD.to(torch.promote_types(x_LD.dtype, torch.float32))
    if norm.kind == "layer":
        x_LD = x_LD - x_LD.mean(-1, keepdim=True)
    if norm.kind != "none":
        x_LD = x_LD / (x_LD.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()
    x_LD = x_LD * norm.gain_D.to(x_LD)
    return x_LD if norm.bias_D is None else x_LD + norm.bias_D.to(x_LD)


def mean_norm_jacobian(h_PD: Tensor, norm: FinalNorm) -> Tensor:
    """The norm's derivative [D, D], mean over states at some positions, in float32 or wider.

    Of x / s, with s the root mean square: (I - x x' / (D s^2)) / s; `layer` takes x less its mean.
    """
    wide_PD = h_PD.to(torch.promote_types(h_PD.dtype, torch.float32))
    dim = wide_PD.shape[1]
    identity_DD = torch.eye(dim, dtype=wide_PD.dtype, device=wide_PD.device)
    gain_D1 = norm.gain_D.to(wide_PD)[:, None]
    if norm.kind == "none":
        return gain_D1 * identity_DD
    centring_DD = identity_DD
    if norm.kind == "layer":
        wide_PD = wide_PD - wide_PD.mean(-1, keepdim=True)
        centring_DD = identity_DD - 1 / dim
    scale_P1 = (wide_PD.pow(2).mean(-1, keepdim=True) + norm.eps).rsqrt()
    outer_DD = (wide_PD * scale_P1.pow(3)).T @ wide_PD / (dim * len(wide_PD))
    return gain_D1 * (scale_P1.mean() * centring_DD - outer_DD)


def project(
    decoder_LD: Tensor, norm: FinalNorm, W_U_DV: Tensor, b_U_V: Tensor | None = None
) -> Tensor:
    """Logits [L, V] of decoder rows put through the final norm and the unembedding."""
    x_LD = apply_norm(decoder_LD, norm)
    logits_LV = x_LD @ W_U_DV.to(x_LD)
    return logits_LV if b_U_V is None else logits_LV + b_U_V.to(x_LD)


def vocab_proj(
    decoder_LD: Tensor,
    norm: FinalNorm,
    W_U_DV: Tensor,
    num_tokens: int,
    b_U_V: Tensor | None = None,
    hub: HubStats | None = None,
    rank_by: RankBy = "logit",
    chunk_size: int = 256,
) -> SignedLists:
    """The tokens each latent promotes and suppresses most; ties go to the smaller token id.

    Memory is `chunk_size` x V numbers at a time. `hub` comes from
    `hub_stats(apply_norm(all decoder rows), W_U, b_U)`.
    """
    W_U_DV = W_U_DV.to(torch.promote_types(decoder_LD.dtype, torch.float32))
    parts = [
        signed_lists(project(chunk_LD, norm, W_U_DV, b_U_V), num_tokens, hub, rank_by)
        for chunk_LD in torch.split(decoder_LD, chunk_size)
    ]
    return SignedLists(
        promoted=_joined([part.promoted for part in parts]),
        suppressed=_joined([part.suppressed for part in parts]),
    )


def embedding_reads(
    encoder_LD: Tensor,
    W_E_VD: Tensor,
    num_tokens: int,
    hub: HubStats | None = None,
    chunk_size: int = 256,
) -> SignedLists:
    """Input evidence: the tokens whose embeddings each encoder column reads most, and least.

    W_E W_enc (methods 4.2) without bias; through the layers between where the rows were sent
    back by the input map. `hub` comes from `hub_stats(encoder rows, W_E')`.
    """
    W_E_DV = W_E_VD.to(torch.promote_types(encoder_LD.dtype, torch.float32)).T
    parts = [
        signed_lists(chunk_LD.to(W_E_DV) @ W_E_DV, num_tokens, hub, "logit")
        for chunk_LD in torch.split(encoder_LD, chunk_size)
    ]
    return SignedLists(
        promoted=_joined([part.promoted for part in parts]),
        suppressed=_joined([part.suppressed for part in parts]),
    )


def _joined(parts: list[TokenLists]) -> TokenLists:
    z = [part.z_BK for part in parts if part.z_BK is not None]
    return TokenLists(
        torch.cat([part.ids_BK for part in parts]),
        torch.cat([part.logits_BK for part in parts]),
        torch.cat(z) if z else None,
    )
