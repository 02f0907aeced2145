"""The non-zero activations of an SAE without a pass over the width for each of them.

A TopK SAE's k largest come with their places: nothing is scattered into the width and searched
for again. Other architectures are encoded by SAELens and their non-zeros read off.
"""

# N positions, L latents, K non-zeros of a TopK SAE

from typing import Any

import torch
from sae_lens import TopKSAE
from torch import Tensor

from ray_autointerp.methods.max_act import ActiveEntries


@torch.inference_mode()
def encode_sparse(sae: Any, h_WTD: Tensor, mask_WT: Tensor, latents: slice) -> ActiveEntries:
    """Non-zeros of a SAELens object's activations where the mask is true, of some latents.

    Exactly those of its `encode`, but for equal values at a TopK's cut, of which any may stay.
    """
    rows_N, positions_N = mask_WT.nonzero(as_tuple=True)
    h_ND = h_WTD[rows_N, positions_N].to(sae.dtype)
    if type(sae) is TopKSAE:  # AbsTopK, which keeps negative ones too, is derived from it
        top = _before_top_k(sae, h_ND).topk(int(sae.cfg.k), dim=-1, sorted=False)
        # Not `> 0`: a NaN must come through, to be refused where examples are gathered.
        places_M, columns_M = (~(top.values <= 0)).nonzero(as_tuple=True)
        latents_M, values_M = top.indices[places_M, columns_M], top.values[places_M, columns_M]
    else:
        acts_NL = sae.encode(h_ND)
        places_M, latents_M = acts_NL.nonzero(as_tuple=True)
        values_M = acts_NL[places_M, latents_M]
    first, stop = latents.start or 0, latents.stop
    is_wanted_M = (latents_M >= first) & (latents_M < stop)
    places_M = places_M[is_wanted_M]
    return ActiveEntries(
        rows_N[places_M],
        positions_N[places_M],
        latents_M[is_wanted_M] - first,
        values_M[is_wanted_M].float(),
    )


def _before_top_k(sae: Any, h_ND: Tensor) -> Tensor:
    """What a TopK SAE ranks: as in its `encode`."""
    before_NL = torch.addmm(sae.b_enc, sae.process_sae_in(h_ND), sae.W_enc)
    if sae.cfg.rescale_acts_by_decoder_norm:
        before_NL *= sae.W_dec.norm(dim=-1)
    return before_NL
