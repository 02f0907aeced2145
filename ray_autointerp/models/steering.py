"""Steered text: generation while a latent is clamped, prompt and generated positions alike.

All rows of a call share one prompt, so there is no padding to get wrong; keys and values are
kept; which positions are clamped is the rule of the calibrating passes; noise is a function of
the row's own seed and position, so a row's text does not depend on its batch (methods 9.10).
"""

# R rows (latent, clamp value, seed), T positions of the prompt, D d_model, V vocabulary,
# S write points

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ray_autointerp.methods.clamp import activation_change, clamp
from ray_autointerp.methods.gumbel import gumbel_noise, sample
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.hook_point import Site
from ray_autointerp.models.later_writes import LaterWrites, Moved
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject


@dataclass(frozen=True)
class SteeredRow:
    """One text to generate: a latent held at a value, and the seed of its sampling noise.

    `latent` None generates without steering.
    """

    latent: int | None
    clamp_value: float
    seed: int


@torch.inference_mode()
def steer(
    subject: Subject,
    sae: Sae,
    prompt_ids: Sequence[int],
    rows: Sequence[SteeredRow],
    num_tokens: int,
    temperature: float,
) -> list[list[int]]:
    """The generated token ids of each row, ended early by an end-of-text token (left out)."""
    site, read = subject.site(sae.hook_point), subject.place(sae.read_point)
    clamped = _Clamps(subject, sae, rows, site)
    cache = subject.new_cache()
    device = subject.device
    seeds_R = torch.tensor([row.seed for row in rows], device=device)
    tokens = torch.tensor([list(prompt_ids)] * len(rows), device=device)
    texts: list[Tensor] = []
    for step in range(num_tokens):
        logits_RV = subject.next_logits(
            tokens, cache, site, read, partial(clamped, tokens), clamped.later_sites
        )
        positions_R = torch.full_like(seeds_R, step)
        noise_RV = gumbel_noise(seeds_R, positions_R, logits_RV.shape[-1])
        next_R = sample(logits_RV, noise_RV, temperature)
        texts.append(next_R)
        tokens = next_R[:, None]
    return [_until_end(row, subject.tokenizer.eos_id) for row in torch.stack(texts, 1).tolist()]


class _Clamps:
    """Clamps each row's latent in the residual stream of the positions it is given in turn."""

    def __init__(self, subject: Subject, sae: Sae, rows: Sequence[SteeredRow], site: Site) -> None:
        self._subject, self._sae, self._site = subject, sae, site
        self.later_sites = subject.sites(sae.later_points)
        subject.sink_threshold(site)  # a pass of its own, which must not run inside the hook
        self._latents_R = torch.tensor([row.latent or 0 for row in rows], device=subject.device)
        self._values_R = torch.tensor([row.clamp_value for row in rows], device=subject.device)
        self._is_steered_R = torch.tensor(
            [row.latent is not None for row in rows], device=subject.device
        )

    def __call__(self, tokens_RT: Tensor, h_RTD: Tensor, read_RTZ: Tensor) -> Moved:
        mask_RT = position_mask(self._subject, tokens_RT, h_RTD, self._site)
        mask_RT &= self._is_steered_R[:, None]
        wide = torch.promote_types(h_RTD.dtype, torch.float32)
        acts_RTL = self._sae.activations_of(read_RTZ, self._latents_R)
        rows_RSZ = self._sae.decoder_rows(self._latents_R)
        rows_R11Z = rows_RSZ[:, 0].to(wide)[:, None, None]
        index_R = torch.arange(len(h_RTD), device=h_RTD.device)
        change_R1T = activation_change(
            acts_RTL[index_R, :, index_R][:, None].to(wide),
            self._values_R.to(wide),
            mask_RT[:, None],
        )
        moved_R1TD = clamp(
            h_RTD[:, None].to(wide),
            change_R1T,
            lambda change_R1T: self._sae.added(change_R1T, rows_R11Z, read_RTZ[:, None]),
        )
        later = LaterWrites(self.later_sites, change_R1T[:, 0], rows_RSZ[:, 1:])
        return Moved(moved_R1TD[:, 0].to(h_RTD.dtype), later)


def _until_end(token_ids: list[int], eos_id: int | None) -> list[int]:
    return token_ids[: token_ids.index(eos_id)] if eos_id in token_ids else token_ids
