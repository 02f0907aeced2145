"""SAEs with weights that are not finite are refused, with the tensors and the latents."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ray_autointerp.errors import SaeError
from ray_autointerp.models import finite_weights
from ray_autointerp.models.finite_weights import require_finite
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.sae_source import check_card

MakeSae = Callable[..., str]
NAN, INF = float("nan"), float("inf")


def spoil(folder: str, name: str, place: object, value: float) -> None:
    path = Path(folder) / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors[name][place] = value  # type: ignore[index]
    save_file(tensors, path)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor of these tests is read in several chunks."""
    monkeypatch.setattr(finite_weights, "_CHUNK_NUMBERS", 100)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("name", "place", "said"),
    [
        ("W_dec", ([3, 17], 5), "in W_dec at 2 of 40 latents (3, 17)"),
        ("W_enc", (5, slice(30, 38)), "in W_enc at 8 of 40 latents (30, 31, 32, 33, 34, ...)"),
        ("threshold", 39, "in threshold at 1 of 40 latents (39)"),
        ("b_dec", 0, "in b_dec, which all latents share"),
    ],
)
def test_tensor_and_latents_are_named(
    sae_folder: MakeSae, name: str, place: object, said: str, value: float
) -> None:
    folder = sae_folder("jumprelu")
    spoil(folder, name, place, value)
    for read in (check_card, Sae.load):
        with pytest.raises(SaeError) as caught:
            read(folder)
        message = str(caught.value)
        assert said in message and folder in message and "another copy" in message


def test_every_tensor_that_is_not_finite_is_named(sae_folder: MakeSae) -> None:
    folder = sae_folder()
    spoil(folder, "W_dec", 8, NAN)
    spoil(folder, "b_enc", 9, INF)
    with pytest.raises(SaeError, match=r"in W_dec at 1 .*\(8\); in b_enc at 1 .*\(9\)"):
        check_card(folder)


def test_only_the_first_tensors_are_named(sae_folder: MakeSae) -> None:
    folder = sae_folder()
    for name in ("W_dec", "W_enc", "b_dec", "b_enc"):
        spoil(folder, name, slice(None), NAN)
    with pytest.raises(SaeError, match=r"in b_dec, .*; and in 1 more tensor\(s\)"):
        check_card(folder)


def test_weights_may_be_too_large_for_a_subject_in_half_precision(sae_folder: MakeSae) -> None:
    """What they add is computed in float32, and may be small; 65,504 is the largest float16."""
    folder = sae_folder()
    spoil(folder, "W_dec", (3, 2), -1e6)
    check_card(folder)
    assert float(Sae.load(folder, dtype="float16").W_dec_LD[3, 2]) == -1e6


def test_weights_too_large_for_float32_are_refused() -> None:
    wide = torch.zeros(40, 10, dtype=torch.float64)
    require_finite("an SAE", {"W_dec": wide})
    wide[3] = 1e39
    with pytest.raises(SaeError, match=r"in W_dec at 1 of 40 latents \(3\)"):
        require_finite("an SAE", {"W_dec": wide})


def test_sum_that_overflows_is_no_number_that_does() -> None:
    require_finite("an SAE", {"W_dec": torch.full((40, 10), 3e38)})


def test_registry_sae_is_checked_too(sae_folder: MakeSae, monkeypatch: pytest.MonkeyPatch) -> None:
    from sae_lens import SAE

    broken = SAE.load_from_disk(sae_folder())
    broken.W_dec.data[7] = NAN
    monkeypatch.setattr(SAE, "from_pretrained", lambda *_, **__: broken)
    for read in (check_card, Sae.load):
        with pytest.raises(SaeError, match=r"some-release/x .*W_dec at 1 of 40 latents \(7\)"):
            read(None, release="some-release", sae_id="x")
