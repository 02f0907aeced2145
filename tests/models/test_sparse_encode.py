"""Sparse encoding against SAELens' dense encoding: the same entries, at the same places."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sae_lens import SAE

from ray_autointerp.methods.max_act import active_entries
from ray_autointerp.models import sparse_encode
from ray_autointerp.models.sae import Sae

KINDS = [
    ("standard", {}),
    ("gated", {}),
    ("jumprelu", {}),
    ("abstopk", {"k": 6}),
    ("topk", {"k": 6}),
    ("topk", {"k": 6, "rescale_acts_by_decoder_norm": True}),
    ("topk", {"k": 6, "apply_b_dec_to_input": False}),
]


def triples(entries: Any) -> dict[tuple[int, int, int], float]:
    columns = (entries.rows_N, entries.positions_N, entries.latents_N)
    keys = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(keys, entries.values_N.tolist(), strict=True))


@pytest.mark.parametrize(("architecture", "fields"), KINDS)
def test_entries_are_the_non_zeros_of_the_dense_encoding(
    sae_folder: Callable[..., str], architecture: str, fields: dict[str, Any]
) -> None:
    folder = sae_folder(architecture, **fields)
    draws = torch.Generator().manual_seed(3)
    h_WTD = torch.randn(3, 9, 32, generator=draws)
    mask_WT = torch.rand(3, 9, generator=draws) < 0.7
    with torch.no_grad():
        dense_WTL = SAE.load_from_disk(folder).encode(h_WTD)
    for latents in (slice(0, 40), slice(7, 21)):
        expected = triples(active_entries(dense_WTL[..., latents], mask_WT))
        found = triples(Sae.load(folder).active_entries(h_WTD, mask_WT, latents))
        assert found.keys() == expected.keys() and len(expected) > 10
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_a_state_that_is_no_number_comes_through_to_be_refused(
    sae_folder: Callable[..., str],
) -> None:
    h_WTD = torch.full((1, 2, 32), float("nan"))
    mask_WT = torch.ones(1, 2, dtype=torch.bool)
    found = Sae.load(sae_folder("topk", k=6)).active_entries(h_WTD, mask_WT, slice(0, 40))
    assert bool(found.values_N.isnan().all()) and len(found.values_N) > 0


def test_entries_do_not_depend_on_how_many_are_encoded_at_once(
    sae_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sae = Sae.load(sae_folder("topk", k=6))
    draws = torch.Generator().manual_seed(3)
    h_WTD = torch.randn(3, 9, 32, generator=draws)
    mask_WT = torch.rand(3, 9, generator=draws) < 0.7
    whole = triples(sae.active_entries(h_WTD, mask_WT, slice(0, 40)))
    monkeypatch.setattr(sparse_encode, "_MOST_DENSE", {"cpu": 1})
    one_by_one = sae.active_entries(h_WTD, mask_WT, slice(0, 40))
    assert triples(one_by_one) == pytest.approx(whole, rel=1e-5)
    assert bool((one_by_one.rows_N.diff() >= 0).all())
    nothing = sae.active_entries(h_WTD, torch.zeros_like(mask_WT), slice(0, 40))
    assert len(nothing.values_N) == 0
