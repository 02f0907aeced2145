"""Weights that do not fit the architecture or the sizes of cfg.json are refused unread."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ray_autointerp.errors import SaeError
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.sae_source import check_card

MakeSae = Callable[..., str]
NAME = "sae_weights.safetensors"


def refusal(folder: str, **config: Any) -> str:
    """The sentence after fields of cfg.json are set."""
    path = Path(folder) / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    with pytest.raises(SaeError) as caught:
        check_card(folder)
    assert folder in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def change(folder: str, **tensors: torch.Tensor | None) -> None:
    path = Path(folder) / NAME
    changed = {**load_file(path), **tensors}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path)


@pytest.mark.parametrize(
    ("stored", "named", "said", "looks"),
    [
        ("jumprelu", "standard", "have `threshold`", '"jumprelu"'),
        ("jumprelu", "topk", "have `threshold`", '"jumprelu"'),
        ("jumprelu", "batchtopk", "lack `topk_threshold` and have `threshold`", '"jumprelu"'),
        ("standard", "jumprelu", "lack `threshold`", '"standard" or "topk" (with its k)'),
        ("gated", "standard", "lack `b_enc` and have `b_gate` and `b_mag`", '"gated"'),
        ("topk", "gated", "lack `b_gate` and `b_mag` and `r_mag`", '"standard" or "topk" (with'),
        ("matching_pursuit", "standard", "lack `W_enc` and `b_enc`", '"matching_pursuit"'),
        ("skip_transcoder", "transcoder", "have `W_skip`", '"skip_transcoder"'),
        ("jumprelu_transcoder", "transcoder", "have `threshold`", '"jumprelu_transcoder"'),
    ],
)
def test_weights_of_another_architecture_are_named(
    sae_folder: MakeSae, stored: str, named: str, said: str, looks: str
) -> None:
    fields: dict[str, Any] = {"k": 6} if stored == "topk" else {}
    if "transcoder" in stored:
        fields = {
            "apply_b_dec_to_input": False,
            "d_out": 32,
            "metadata": {"hook_name_out": "blocks.1.hook_mlp_out"},
        }
    sentence = refusal(sae_folder(stored, **fields), architecture=named)
    assert f"says architecture `{named}`, and its weights {said}" in sentence
    assert f"they look like {looks}" in sentence and '"architecture" in its cfg.json' in sentence


def test_setting_what_the_sentence_says_helps(sae_folder: MakeSae) -> None:
    folder = sae_folder("jumprelu")
    refusal(folder, architecture="standard")
    config = json.loads((Path(folder) / "cfg.json").read_text())
    (Path(folder) / "cfg.json").write_text(json.dumps(config | {"architecture": "jumprelu"}))
    assert check_card(folder).architecture == "jumprelu"


def test_training_checkpoint_called_standard_looks_like_batchtopk(sae_folder: MakeSae) -> None:
    folder = sae_folder()
    change(folder, topk_threshold=torch.tensor(0.4, dtype=torch.float64))
    assert '"batchtopk" or "matryoshka_batchtopk"' in refusal(folder)


def test_log_threshold_is_of_training(sae_folder: MakeSae) -> None:
    folder = sae_folder("jumprelu")
    change(folder, threshold=None, log_threshold=torch.zeros(40))
    assert "save_inference_model" in refusal(folder)


def test_weights_that_look_like_nothing_are_no_sae(sae_folder: MakeSae) -> None:
    folder = sae_folder()
    change(folder, b_dec=None)
    assert "lack `b_dec`: they look like no architecture" in refusal(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"d_sae": 50}, "W_enc 32 x 50, and it is 32 x 40: set d_sae = 40 in its cfg.json"),
        ({"d_in": 16}, "W_enc 16 x 40, and it is 32 x 40: set d_in = 32 in"),
        ({"d_in": 40, "d_sae": 32}, "set d_in = 32 and d_sae = 40"),
    ],
)
def test_sizes_of_the_weights_are_said(
    sae_folder: MakeSae, config: dict[str, int], said: str
) -> None:
    assert said in refusal(sae_folder(), **config)


def test_tensors_that_do_not_fit_each_other_are_of_a_damaged_copy(sae_folder: MakeSae) -> None:
    folder = sae_folder()
    change(folder, b_enc=torch.zeros(39))
    assert "makes b_enc 40, and it is 39: its tensors do not fit each other" in refusal(folder)
    change(folder, b_enc=torch.zeros(40, 1))
    assert "it is 40 x 1: take another copy" in refusal(folder)


def test_scaling_factor_of_old_files_is_no_other_architecture(sae_folder: MakeSae) -> None:
    folder = sae_folder()
    change(folder, scaling_factor=torch.ones(40))
    assert check_card(folder).d_sae == Sae.load(folder).d_sae == 40


def test_sparsify_weights_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "layers.1"
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"d_in": 32, "num_latents": 40, "k": 4}))
    tensors = {
        "encoder.weight": torch.zeros(40, 32),
        "encoder.bias": torch.zeros(40),
        "W_dec": torch.zeros(40, 32),
    }
    save_file(tensors, folder / "sae.safetensors")
    assert "without b_dec" in refusal(str(folder))
    tensors |= {"b_dec": torch.zeros(32), "encoder.weight": torch.zeros(32, 40)}
    save_file(tensors, folder / "sae.safetensors")
    assert "makes encoder.weight 40 x 32, and it is 32 x 40" in refusal(str(folder))
