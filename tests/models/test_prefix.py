"""Suffixes over kept keys against whole windows: the same states, of which only some were run."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ray_autointerp.models.active_pass import active_changes
from ray_autointerp.models.clamped_pass import clamped_states, clean_run, last_position_states
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject

Tiny = Callable[..., Subject]
LATENTS = (3, 17, 0, 29)


@pytest.mark.parametrize("hook_point", ["blocks.1.hook_resid_post", "blocks.1.hook_attn_out"])
def test_suffix_over_kept_keys_equals_the_whole_window(
    tiny: Tiny, windows_WT: Tensor, model_type: str, hook_point: str
) -> None:
    """Every family, rows that begin at different places, sliding windows of 8 among them."""
    subject, draws = tiny(model_type), torch.Generator().manual_seed(1)
    site = subject.site(hook_point)
    h_WTD = subject.residual(windows_WT, site)
    prefix = subject.keep_keys(h_WTD, site)
    assert torch.equal(prefix.normed_WTD, subject.resume(h_WTD, site))
    windows_B, starts_B = torch.tensor([0, 2, 1, 2]), torch.tensor([1, 7, 14, 11])
    places_BS = starts_B[:, None] + torch.arange(6)
    h_BSD = h_WTD[windows_B[:, None], places_BS]
    h_BSD = h_BSD + torch.randn(h_BSD.shape, generator=draws)
    found = subject.resume_suffix(h_BSD, prefix, windows_B, starts_B)
    for row, (window, start) in enumerate(zip(windows_B.tolist(), starts_B.tolist(), strict=True)):
        whole_1TD = h_WTD[window : window + 1].clone()
        whole_1TD[0, start : start + 6] = h_BSD[row]
        expected = subject.resume(whole_1TD, site)[0, start : start + 6]
        torch.testing.assert_close(found[row], expected, rtol=0, atol=2e-5)
        assert (expected - prefix.normed_WTD[window, start : start + 6]).abs().max() > 1e-2


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("hook_point", ["hook_resid_post", "attn.hook_z"])
def test_last_position_alone_is_clamped(
    tiny: Tiny,
    sae_folder: Callable[..., str],
    windows_WT: Tensor,
    model_type: str,
    hook_point: str,
) -> None:
    subject = tiny(model_type)
    sae = Sae.load(sae_folder("topk", f"blocks.1.{hook_point}", k=6)).bound_to(subject)
    clean = clean_run(subject, sae, LATENTS, windows_WT, keep_keys=True)
    is_last_WT = torch.zeros_like(clean.mask_WT)
    is_last_WT[:, -1] = True
    latents, values = [3, 17, 29], torch.tensor([5.0, -4.0, 2.0])
    whole = clamped_states(subject, sae, clean.masked(is_last_WT), latents, values)
    for rows_per_pass in (1, 2):
        found = last_position_states(subject, sae, clean, latents, values, rows_per_pass)
        torch.testing.assert_close(found, whole[:, :, -1], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("model_type", "fields"),
    [
        ("llama", {}),
        ("llama", {"normalize_activations": "layer_norm"}),
        ("gemma2", {"hook_point": "blocks.1.attn.hook_z"}),
    ],
)
def test_active_positions_alone_are_clamped_and_counted(
    tiny: Tiny,
    sae_folder: Callable[..., str],
    windows_WT: Tensor,
    model_type: str,
    fields: dict[str, Any],
) -> None:
    """Against the whole window with a mask that holds only where the latent fires."""
    subject = tiny(model_type)
    sae = Sae.load(sae_folder("topk", k=6, **fields)).bound_to(subject)
    every = list(range(sae.d_sae))
    clean = clean_run(subject, sae, every, windows_WT, keep_keys=True)
    fires_L = ((clean.acts_WTL > 0) & clean.mask_WT[..., None]).any(1).all(0)
    latent = int(fires_L.nonzero()[0])
    windows_W = torch.tensor([2, 0])
    acts_WT = clean.acts_WTL[windows_W][..., latent]
    active_WT = (acts_WT > 0) & clean.mask_WT[windows_W]
    changes_NWT = torch.stack([torch.full_like(acts_WT, 3.0), -acts_WT])
    done = active_changes(subject, sae, clean, latent, windows_W, changes_NWT, 3)
    assert torch.equal(done.counts_W, active_WT.sum(1))
    for row, change_WT in enumerate(changes_NWT):
        h_WTD = clean.h_WTD[windows_W]
        read_WTZ = None if clean.read_WTZ is None else clean.read_WTZ[windows_W]
        moved_WTD = h_WTD + sae.added(change_WT * active_WT, sae.W_dec_LZ[latent], read_WTZ)
        diff_WTD = subject.resume(moved_WTD, clean.site) - clean.normed_WTD[windows_W]
        expected_WD = (diff_WTD * active_WT[..., None]).sum(1)
        torch.testing.assert_close(done.sums_NWD[row], expected_WD, rtol=0, atol=5e-5)
        assert expected_WD.abs().max() > 1e-3
