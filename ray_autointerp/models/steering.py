"""Steered text: generation while a latent is clamped, prompt and generated positions alike.

All rows of a call share one prompt, so there is no padding to get wrong; keys and values are
kept; BOS and sinks are never clamped; noise is a function of the row's own seed and position, so
a row's text does not depend on what shares its batch (methods 9.10).
"""

# R rows (latent, clamp value, seed), T positions of the prompt, D d_model, V vocabulary

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_autointerp.methods.clamp import clamp
from ray_autointerp.methods.gumbel import gumbel_noise, sample
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
    site = subject.site(sae.hook_point)
    change = _clamps(subject, sae, rows, site)
    cache = subject.new_cache()
    device = subject.device
    seeds_R = torch.tensor([row.seed for row in rows], device=device)
    tokens = torch.tensor([list(prompt_ids)] * len(rows), device=device)
    texts: list[Tensor] = []
    for step in range(num_tokens):
        logits_RV = subject.next_logits(tokens, cache, site, change)
        positions_R = torch.full_like(seeds_R, step)
        noise_RV = gumbel_noise(seeds_R, positions_R, logits_RV.shape[-1])
        next_R = sample(logits_RV, noise_RV, temperature)
        texts.append(next_R)
        tokens = next_R[:, None]
    return [_until_end(row, subject.tokenizer.eos_id) for row in torch.stack(texts, 1).tolist()]


class _clamps:
    """Clamps each row's latent in the residual stream of the positions it is given in turn."""

    def __init__(self, subject: Subject, sae: Sae, rows: Sequence[SteeredRow], site: int) -> None:
        self._sae = sae
        self._threshold = subject.sink_threshold(site)
        self._latents_R = torch.tensor([row.latent or 0 for row in rows], device=subject.device)
        self._values_R = torch.tensor([row.clamp_value for row in rows], device=subject.device)
        self._is_steered_R = torch.tensor(
            [row.latent is not None for row in rows], device=subject.device
        )
        self._is_first = True

    def __call__(self, h_RTD: Tensor) -> Tensor:
        mask_RT = h_RTD.float().norm(dim=-1) <= self._threshold
        mask_RT &= self._is_steered_R[:, None]
        if self._is_first:
            mask_RT[:, 0] = False  # BOS
            self._is_first = False
        acts_RTL = self._sae.activations_of(h_RTD, self._latents_R)
        index_R = torch.arange(len(h_RTD), device=h_RTD.device)
        acts_RT = acts_RTL[index_R, :, index_R].to(h_RTD.dtype)
        directions_RD = self._sae.W_dec_LD[self._latents_R].to(h_RTD)
        moved_R1TD = clamp(
            h_RTD[:, None],
            acts_RT[:, None],
            self._values_R.to(h_RTD),
            directions_RD,
            mask_RT[:, None],
        )
        return moved_R1TD[:, 0]


def _until_end(token_ids: list[int], eos_id: int | None) -> list[int]:
    return token_ids[: token_ids.index(eos_id)] if eos_id in token_ids else token_ids
