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

_MOST_DENSE = {"cpu": 2**22, "cuda": 2**28}
"""Activations held over the width at once, whatever the batch and the width: on a processor as many
as its caches nearly hold, on a GPU enough to keep it busy."""


@torch.inference_mode()
def encode_sparse(sae: Any, h_WTD: Tensor, mask_WT: Tensor, latents: slice) -> ActiveEntries:
    """Non-zeros of a SAELens object's activations where the mask is true, of some latents.

    Exactly those of its `encode`, but for equal values at a TopK's cut, of which any may stay.
    """
    rows_N, positions_N = mask_WT.nonzero(as_tuple=True)
    h_ND = h_WTD[rows_N, positions_N].to(sae.dtype)
    first, stop = latents.start or 0, latents.stop
    together = max(1, _MOST_DENSE[h_ND.device.type] // int(sae.cfg.d_sae))
    places, found, values = [], [], []
    for start in range(0, len(h_ND), together):
        places_M, latents_M, values_M = _nonzeros(sae, h_ND[start : start + together])
        is_wanted_M = (latents_M >= first) & (latents_M < stop)
        places.append(places_M[is_wanted_M] + start)
        found.append(latents_M[is_wanted_M] - first)
        values.append(values_M[is_wanted_M].float())
    if not places:
        none_N = rows_N[:0]
        return ActiveEntries(none_N, none_N, none_N, h_ND[:0, 0].float())
    places_M = torch.cat(places)
    return ActiveEntries(
        rows_N[places_M], positions_N[places_M], torch.cat(found), torch.cat(values)
    )


def _nonzeros(sae: Any, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places (rising), latents and values of the non-zeros."""
    if type(sae) is TopKSAE:  # AbsTopK, which keeps negative ones too, is derived from it
        top = _before_top_k(sae, h_ND).topk(int(sae.cfg.k), dim=-1, sorted=False)
        # Not `> 0`: a NaN must come through, to be refused where examples are gathered.
        places_M, columns_M = (~(top.values <= 0)).nonzero(as_tuple=True)
        return places_M, top.indices[places_M, columns_M], top.values[places_M, columns_M]
    acts_NL = sae.encode(h_ND)
    places_M, latents_M = acts_NL.nonzero(as_tuple=True)
    return places_M, latents_M, acts_NL[places_M, latents_M]


def _before_top_k(sae: Any, h_ND: Tensor) -> Tensor:
    """What a TopK SAE ranks: as in its `encode`."""
    before_NL = torch.addmm(sae.b_enc, sae.process_sae_in(h_ND), sae.W_enc)
    if sae.cfg.rescale_acts_by_decoder_norm:
        before_NL *= sae.W_dec.norm(dim=-1)
    return before_NL
