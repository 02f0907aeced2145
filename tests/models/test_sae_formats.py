"""Checkpoints of every format against encoders and decoders written out in plain torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import (
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.models.sae import Sae, check_card

WIDTH, LATENTS, THRESHOLD = 32, 40, 0.37


def states() -> Tensor:
    return torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(5))


def randomised(parameters: Any) -> None:
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draws))


@pytest.fixture(params=["batchtopk", "matryoshka"])
def training_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A training checkpoint, saved as training saves it: with its learned threshold."""
    fields: dict[str, Any] = {"d_in": WIDTH, "d_sae": LATENTS, "k": 5}
    fields |= {"rescale_acts_by_decoder_norm": False}
    if request.param == "batchtopk":
        sae: Any = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**fields))
    else:
        fields |= {"matryoshka_widths": [8, LATENTS]}
        sae = MatryoshkaBatchTopKTrainingSAE(MatryoshkaBatchTopKTrainingSAEConfig(**fields))
    randomised(sae.parameters())
    sae.topk_threshold = torch.tensor(THRESHOLD, dtype=torch.double)
    sae.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    sae.save_model(tmp_path)
    return tmp_path


def test_training_checkpoints_fire_above_their_learned_threshold(training_folder: Path) -> None:
    raw = load_file(training_folder / "sae_weights.safetensors")
    assert check_card(str(training_folder)).architecture == "jumprelu"
    sae = Sae.load(str(training_folder))
    config = json.loads((training_folder / "cfg.json").read_text())
    x = states()
    centred = x - raw["b_dec"] if config["apply_b_dec_to_input"] else x
    before = centred @ raw["W_enc"] + raw["b_enc"]
    expected = before * (before > THRESHOLD)
    torch.testing.assert_close(sae.activations(x), expected, rtol=1e-5, atol=1e-5)
    assert 0 < (expected > 0).float().mean() < 1
    assert torch.equal(sae.W_dec_LD, raw["W_dec"])


def test_training_checkpoint_without_a_threshold_is_refused(training_folder: Path) -> None:
    weights = training_folder / "sae_weights.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if k != "topk_threshold"}, weights)
    with pytest.raises(SaeError, match="depends on its batch"):
        check_card(str(training_folder))


@pytest.fixture
def sparsify(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "layers.1", **fields: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        draws = torch.Generator().manual_seed(2)
        shapes = {"encoder.weight": (LATENTS, WIDTH), "encoder.bias": (LATENTS,)}
        shapes |= {"W_dec": (LATENTS, WIDTH), "b_dec": (WIDTH,)}
        weights = {n: torch.randn(shape, generator=draws) for n, shape in shapes.items()}
        save_file(weights, folder / "sae.safetensors")
        config = {"d_in": WIDTH, "num_latents": LATENTS, "k": 5, "expansion_factor": 32}
        config |= {"normalize_decoder": True, "signed": False, "transcode": False, **fields}
        (folder / "cfg.json").write_text(json.dumps(config))
        return folder

    return write


def test_sparsify_folders_are_topk_over_centred_states(sparsify: Callable[..., Path]) -> None:
    folder = sparsify()
    raw, x = load_file(folder / "sae.safetensors"), states()
    card = check_card(str(folder))
    assert (card.architecture, card.hook_point) == ("topk", "blocks.1.hook_resid_post")
    sae = Sae.load(str(folder))
    before = torch.relu((x - raw["b_dec"]) @ raw["encoder.weight"].T + raw["encoder.bias"])
    top = before.topk(5)
    expected = torch.zeros_like(before).scatter(1, top.indices, top.values)
    torch.testing.assert_close(sae.activations(x), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(sae.W_dec_LD, raw["W_dec"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"transcode": True}, "transcoder"),
        ({"skip_connection": True}, "skip connection"),
        ({"signed": True}, "negative activations"),
        ({"activation": "groupmax"}, "only `topk`"),
    ],
)
def test_sparsify_folders_that_cannot_be_clamped_are_refused(
    sparsify: Callable[..., Path], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(SaeError, match=said):
        check_card(str(sparsify(**fields)))


def test_sparsify_folder_elsewhere_than_the_residual_stream_names_no_hook_point(
    sparsify: Callable[..., Path],
) -> None:
    assert check_card(str(sparsify("layers.1.mlp"))).hook_point is None


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("standard", {}),
        ("gated", {}),
        ("topk", {"k": 6}),
        ("topk", {"k": 6, "rescale_acts_by_decoder_norm": True}),
        ("abstopk", {"k": 6}),
        ("jumprelu", {}),
        ("standard", {"apply_b_dec_to_input": True}),
        ("jumprelu", {"apply_b_dec_to_input": True}),
    ],
)
def test_setting_a_latent_moves_saelens_reconstruction_along_its_decoder_row(
    sae_folder: Callable[..., str], architecture: str, fields: dict[str, Any]
) -> None:
    """decode(edited) - decode(as it is) = (v - a) W_dec[i]: what every clamp rests on."""
    from sae_lens import SAE

    folder = sae_folder(architecture, **fields)
    oracle, sae, x = SAE.load_from_disk(folder), Sae.load(folder), states()
    with torch.no_grad():
        acts = oracle.encode(x)
        torch.testing.assert_close(sae.activations(x), acts)
        for latent in (0, 7, 39):
            edited = acts.clone()
            edited[:, latent] = 2.5
            moved = oracle.decode(edited) - oracle.decode(acts)
            expected = (2.5 - acts[:, latent, None]) * sae.W_dec_LD[latent]
            torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)
