"""Clamped passes: what the subject says when one latent is set to a value.

The clean residual stream is computed once per set of windows and shared by all latents; a clamp
with the error term kept is h + (v - a_i(h)) W_dec[i], no decode; only the layers above the hook
run; states are averaged after the final norm and before the unembedding (methods 9.1-9.4).
BOS and attention sinks are never clamped and never counted.
"""

# W windows, T positions, D d_model, V vocabulary, L latents asked, B rows = (latent, value) pairs

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.methods.clamp import clamp
from ray_autointerp.methods.kl import kl_divergence
from ray_autointerp.methods.token_change import mean_normed_diff
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject


@dataclass(frozen=True)
class CleanRun:
    """The unclamped pass over some windows of equal length, shared by every latent."""

    site: int
    h_WTD: Tensor
    """Residual stream where the latents write."""
    normed_WTD: Tensor
    """Final normed states."""
    mask_WT: Tensor
    """Where clamping may happen and states are counted: no BOS, no special token, no sink."""
    acts_WTL: Tensor
    """Activations of the latents asked about, wherever they read."""
    latents: tuple[int, ...]

    @property
    def num_positions(self) -> int:
        """Positions counted."""
        return int(self.mask_WT.sum())


def position_mask(subject: Subject, token_ids_WT: Tensor, h_WTD: Tensor, site: int) -> Tensor:
    """True where a latent may be read, clamped and counted: no special tokens, no sinks."""
    special = torch.tensor(sorted(subject.tokenizer.special_ids), dtype=torch.long)
    is_special_WT = torch.isin(token_ids_WT.cpu(), special).to(h_WTD.device)
    is_sink_WT = h_WTD.float().norm(dim=-1) > subject.sink_threshold(site)
    return torch.logical_not(is_special_WT | is_sink_WT)


def clean_run(subject: Subject, sae: Sae, latents: Sequence[int], token_ids_WT: Tensor) -> CleanRun:
    """The clean pass over windows of equal length, with the latents' activations."""
    site = subject.site(sae.hook_point)
    place = subject.place(sae.read_point)
    seen = subject.residuals(token_ids_WT, [site, place])
    h_WTD = seen[site]
    return CleanRun(
        site=site,
        h_WTD=h_WTD,
        normed_WTD=subject.resume(h_WTD, site),
        mask_WT=position_mask(subject, token_ids_WT, h_WTD, site),
        acts_WTL=sae.activations_of(seen[place], torch.tensor(latents, device=h_WTD.device)),
        latents=tuple(latents),
    )


def clamped_states(
    subject: Subject, sae: Sae, clean: CleanRun, latent_B: Sequence[int], value_B: Tensor
) -> Tensor:
    """Final normed states [B, W, T, D] with latent_B[b] set to value_B[b] in row b.

    One pass over B x W windows: the caller decides how many rows go together, and that number is
    part of the run's identity, because batch shape moves the last bits of float32. The clamp is
    computed in float32 at least and rounded once to the subject's dtype.
    """
    index_B = torch.tensor([clean.latents.index(latent) for latent in latent_B])
    wide = torch.promote_types(clean.h_WTD.dtype, torch.float32)
    h_BWTD = clamp(
        clean.h_WTD.to(wide),
        clean.acts_WTL[..., index_B].movedim(-1, 0).to(wide),
        value_B.to(clean.h_WTD.device, wide),
        sae.W_dec_LD[list(latent_B)].to(wide),
        clean.mask_WT,
    ).to(clean.h_WTD.dtype)
    flat = subject.resume(h_BWTD.flatten(0, 1), clean.site)
    return flat.reshape(h_BWTD.shape)


def mean_change(
    subject: Subject,
    sae: Sae,
    clean: CleanRun,
    latent_B: Sequence[int],
    value_B: Tensor,
    rows_per_pass: int,
) -> Tensor:
    """Mean change [B, D] of the final normed states over windows and positions, float32."""
    parts = []
    for start in range(0, len(latent_B), rows_per_pass):
        rows = slice(start, start + rows_per_pass)
        clamped = clamped_states(subject, sae, clean, latent_B[rows], value_B[rows])
        parts.append(mean_normed_diff(clamped, clean.normed_WTD, clean.mask_WT))
    return torch.cat(parts)


def next_token_kl(
    subject: Subject, sae: Sae, clean: CleanRun, latent_B: Sequence[int], value_B: Tensor
) -> Tensor:
    """KL(clean || clamped) [B] in nats of the token after one prompt; `clean` is one window."""
    return _kl(subject, sae, clean, latent_B, value_B, [clean.h_WTD.shape[1] - 1])[:, 0]


def all_positions_kl(
    subject: Subject, sae: Sae, clean: CleanRun, latent_B: Sequence[int], value_B: Tensor
) -> Tensor:
    """The same, mean [B] over every counted position: what the released notebook calibrated on."""
    counted = clean.mask_WT[0].nonzero()[:, 0].tolist()
    return _kl(subject, sae, clean, latent_B, value_B, counted).mean(-1)


def _kl(
    subject: Subject,
    sae: Sae,
    clean: CleanRun,
    latent_B: Sequence[int],
    value_B: Tensor,
    positions: list[int],
) -> Tensor:
    assert len(clean.h_WTD) == 1, "one prompt at a time: prompts differ in length"
    clamped_BTD = clamped_states(subject, sae, clean, latent_B, value_B)[:, 0]
    return kl_divergence(
        subject.unembed(clean.normed_WTD[0, positions]),
        subject.unembed(clamped_BTD[:, positions]),
    )
