"""Random weights in place of an SAE's: seeded, of the same norms, and nothing else it learned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity

from ray_autointerp.errors import SaeError
from ray_autointerp.models.random_weights import random_seed
from ray_autointerp.models.sae import Sae

MakeSae = Callable[..., str]
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("topk", {"k": 6}),
    ("topk", {"k": 6, "rescale_acts_by_decoder_norm": True}),
    ("abstopk", {"k": 6}),
]


def latents_read(sae: Sae) -> torch.Tensor:
    return sae._sae.W_enc.T


@pytest.mark.parametrize(("kind", "fields"), KINDS)
def test_norms_cosines_and_density_are_kept_and_directions_are_not(
    sae_folder: MakeSae, kind: str, fields: dict[str, Any]
) -> None:
    folder = sae_folder(kind, **fields)
    own, drawn = Sae.load(folder), Sae.load(folder, random_seed=3)
    for of in (latents_read, lambda sae: sae._sae.W_dec):
        torch.testing.assert_close(of(drawn).norm(dim=-1), of(own).norm(dim=-1))
        assert cosine_similarity(of(drawn), of(own)).abs().mean() < 0.3
    cosines = [cosine_similarity(latents_read(sae), sae._sae.W_dec) for sae in (own, drawn)]
    torch.testing.assert_close(*cosines, rtol=1e-4, atol=1e-5)
    assert torch.equal(drawn._sae.b_dec, own._sae.b_dec) and not drawn._sae.b_enc.any()
    assert own._sae.b_enc.any()
    h_XD = torch.randn(200, 32, generator=torch.Generator().manual_seed(5))
    assert ((drawn.activations(h_XD) != 0).sum(-1) == 6).all()


def test_draws_are_of_the_seed_alone_and_isotropic(sae_folder: MakeSae) -> None:
    folder = sae_folder("topk", k=6, d_sae=4000)
    one, again, other = (latents_read(Sae.load(folder, random_seed=s)) for s in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)
    units = torch.nn.functional.normalize(one, dim=-1)
    covariance = units.T @ units / len(units)
    torch.testing.assert_close(covariance, torch.eye(32) / 32, rtol=0, atol=0.003)
    assert len({random_seed(0, "a"), random_seed(0, "b"), random_seed(1, "a")}) == 3


def test_tied_sae_stays_tied_and_silent_rows_stay_zero(sae_folder: MakeSae) -> None:
    folder = sae_folder("topk", k=6)
    weights = Path(folder) / "sae_weights.safetensors"
    tensors = load_file(weights)
    tensors["W_dec"] = 2 * tensors["W_enc"].T.contiguous()
    tensors["W_dec"][7] = 0
    save_file(tensors, weights)
    drawn = Sae.load(folder, random_seed=0)._sae
    expected = 2 * drawn.W_enc.T.clone()
    expected[7] = 0
    torch.testing.assert_close(drawn.W_dec.data, expected)


@pytest.mark.parametrize(
    ("kind", "fields"), [("standard", {}), ("jumprelu", {}), ("matching_pursuit", {})]
)
def test_sae_whose_thresholds_decide_is_refused(
    sae_folder: MakeSae, kind: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(SaeError, match=f"`{kind}`") as refused:
        Sae.load(sae_folder(kind, **fields), random_seed=0)
    assert "\n" not in str(refused.value)
