"""The non-zero activations of an SAE without a pass over the width for each of them.

A TopK SAE's k largest come with their places: nothing is scattered into the width and searched
for again. Other architectures are encoded by SAELens and their non-zeros read off.
"""

# N positions, L latents, M non-zeros

from typing import Any

import torch
from sae_lens import TopKSAE
from torch import Tensor

from ray_autointerp.methods.max_act import ActiveEntries
from ray_autointerp.methods.top_k import top_k_entries

_MOST_DENSE = {"cpu": 2**22, "cuda": 2**28}
"""Activations held over the width at once, whatever the batch and the width: on a processor as many
as its caches nearly hold, on a GPU enough to keep it busy."""

_Nonzeros = tuple[Tensor, Tensor, Tensor]
"""Places, latents and values."""


@torch.inference_mode()
def encode_sparse(sae: Any, h_WTD: Tensor, mask_WT: Tensor, latents: slice) -> ActiveEntries:
    """Non-zeros of a SAELens object's activations where the mask is true, of some latents.

    Exactly those of its `encode`, but for equal values at a TopK's cut, of which any may stay.
    """
    rows_N, positions_N = mask_WT.nonzero(as_tuple=True)
    h_ND = h_WTD[rows_N, positions_N].to(sae.dtype)
    first, stop = latents.start or 0, latents.stop
    together = max(1, _MOST_DENSE[h_ND.device.type] // int(sae.cfg.d_sae))
    # One buffer for all: the kernel hands out fresh memory page by page, slower than it is filled.
    held = min(together, len(h_ND)) if _is_top_k(sae) else 0
    held_NL = h_ND.new_empty(held, int(sae.cfg.d_sae))
    places, found, values = [], [], []
    for start in range(0, len(h_ND), together):
        nonzeros = _nonzeros(sae, h_ND[start : start + together], held_NL)
        is_wanted_M = (nonzeros[1] >= first) & (nonzeros[1] < stop)
        places_M, latents_M, values_M = _where(is_wanted_M, nonzeros)
        places.append(places_M + start)
        found.append(latents_M - first)
        values.append(values_M.float())
    if not places:
        none_N = rows_N[:0]
        return ActiveEntries(none_N, none_N, none_N, h_ND[:0, 0].float())
    places_M = torch.cat(places)
    return ActiveEntries(
        rows_N.index_select(0, places_M),
        positions_N.index_select(0, places_M),
        torch.cat(found),
        torch.cat(values),
    )


def _nonzeros(sae: Any, h_ND: Tensor, held_NL: Tensor) -> _Nonzeros:
    """Places (rising), latents and values of the non-zeros; the buffer may be written over."""
    if _is_top_k(sae):
        before_NL = _before_top_k(sae, h_ND, held_NL[: len(h_ND)])
        largest = top_k_entries(before_NL, int(sae.cfg.k))
        # Not `> 0`: a NaN must come through, to be refused where examples are gathered.
        return _where((largest[2] <= 0).logical_not_(), largest)
    acts_NL = sae.encode(h_ND)
    places_M, latents_M = acts_NL.nonzero(as_tuple=True)
    return places_M, latents_M, acts_NL[places_M, latents_M]


def _is_top_k(sae: Any) -> bool:
    return type(sae) is TopKSAE  # AbsTopK, which keeps negative ones too, is derived from it


def _where(mask_M: Tensor, entries: _Nonzeros) -> _Nonzeros:
    """The entries at which the mask is true: mostly all, which needs no copy."""
    if bool(mask_M.all()):
        return entries
    kept = mask_M.nonzero()[:, 0]
    places_M, latents_M, values_M = (x.index_select(0, kept) for x in entries)
    return places_M, latents_M, values_M


def _before_top_k(sae: Any, h_ND: Tensor, held_NL: Tensor) -> Tensor:
    """What a TopK SAE ranks, in the buffer: as in its `encode`."""
    torch.addmm(sae.b_enc, sae.process_sae_in(h_ND), sae.W_enc, out=held_NL)
    if sae.cfg.rescale_acts_by_decoder_norm:
        held_NL *= sae.W_dec.norm(dim=-1)
    return held_NL
