"""Clamping a latent only where it fires: raised and lowered at its own active positions.

Of each window only the stretch from the first active position to the last goes through the layers
above the hook; what is before comes from the clean pass's keys and values (methods 9.5, wish 3 of
section 2). Counted are the clamped positions: what the model says next where the latent speaks.
"""

# W windows, T positions, B rows = (window, change) pairs of one latent, S positions of a stretch,
# P write points

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.methods.token_change import normed_diff_sums
from ray_autointerp.models.clamped_pass import CleanRun
from ray_autointerp.models.later_writes import LaterWrites
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject


@dataclass(frozen=True)
class ActiveChanges:
    """What changing one latent at its active positions did, window by window."""

    sums_NWD: Tensor
    """Per change and window, the sum over active positions of clamped minus clean normed states."""
    clean_PD: Tensor
    """Clean final normed states at all active positions of all windows, flat."""
    clamped_NPD: Tensor
    """Clamped ones, per change."""
    counts_W: Tensor
    """Active positions of each window."""


def active_changes(
    subject: Subject,
    sae: Sae,
    clean: CleanRun,
    latent: int,
    windows_W: Tensor,
    changes_NWT: Tensor,
    rows_per_pass: int,
) -> ActiveChanges:
    """Add `changes_NWT[n]` to the latent's activation where it is active, in some windows.

    The clean run must have kept its keys. Each of `windows_W` (indices into the clean run) must
    hold an active position; changes elsewhere are left out.
    """
    assert clean.prefix is not None, "the clean run kept no keys and values"
    acts_WT = clean.acts_WTL[windows_W][..., clean.latents.index(latent)]
    active_WT = (acts_WT > 0) & clean.mask_WT[windows_W]
    assert bool(active_WT.any(1).all()), "a window in which the latent is silent"
    num_positions = active_WT.shape[1]
    first_W = active_WT.int().argmax(1)
    last_W = num_positions - 1 - active_WT.flip(1).int().argmax(1)
    width = int((last_W - first_W).max()) + 1
    # One width for all: a shorter stretch begins earlier, and its clean positions stay clean.
    starts_W = first_W.clamp_max(num_positions - width)
    places_WS = starts_W[:, None] + torch.arange(width, device=starts_W.device)
    rows_W1 = windows_W[:, None]
    active_WS = active_WT.gather(1, places_WS)
    h_WSD, normed_WSD = clean.h_WTD[rows_W1, places_WS], clean.normed_WTD[rows_W1, places_WS]
    rows_1PZ = sae.decoder_rows([latent])
    row_Z = rows_1PZ[0, 0].to(torch.promote_types(h_WSD.dtype, torch.float32))
    read_WSZ = None if clean.read_WTZ is None else clean.read_WTZ[rows_W1, places_WS]
    num_changes = len(changes_NWT)
    changes_NWS = changes_NWT.gather(2, places_WS.expand(num_changes, -1, -1))
    changes_NWS = changes_NWS.masked_fill(~active_WS, 0)
    moved_NWSD = h_WSD + sae.added(changes_NWS, row_Z, read_WSZ)
    flat_BSD = moved_NWSD.to(h_WSD.dtype).flatten(0, 1)
    rows_BPD = rows_1PZ[:, 1:].expand(len(flat_BSD), -1, -1)
    later = LaterWrites(clean.later_sites, changes_NWS.flatten(0, 1), rows_BPD)
    windows_B, starts_B = windows_W.repeat(num_changes), starts_W.repeat(num_changes)
    prefix = clean.prefix

    def resumed(rows: slice) -> Tensor:
        return subject.resume_suffix(
            flat_BSD[rows], prefix, windows_B[rows], starts_B[rows], later.part(rows)
        )

    states = subject.halving.run(len(flat_BSD), rows_per_pass, resumed)
    states_NWSD = torch.cat(states).reshape(moved_NWSD.shape)
    return ActiveChanges(
        normed_diff_sums(states_NWSD, normed_WSD, active_WS),
        normed_WSD[active_WS],
        states_NWSD[:, active_WS],
        active_WS.sum(1),
    )
