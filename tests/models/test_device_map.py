"""A subject on several GPUs: the same numbers as on one, and nothing on the wrong one.

There are no GPUs: tensors pretend (scripts/pretended_gpus.py).
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate.hooks import attach_execution_device_hook
from accelerate.utils import check_device_map
from pretended_gpus import PretendedGpus, put
from torch import Tensor
from transformers import AutoModelForCausalLM

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.active_pass import active_changes
from ray_autointerp.models.clamped_pass import (
    clean_run,
    last_position_states,
    next_token_effects,
    window_changes,
)
from ray_autointerp.models.device_map import device_map
from ray_autointerp.models.families import family_of
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.steering import SteeredRow, steer
from ray_autointerp.models.subject import Subject
from ray_autointerp.models.subject_card import model_config, without_weights

TinyFolder = Callable[[str], str]
GPUS = [torch.device("cuda", number) for number in range(3)]


def spread(folder: str, num_gpus: int) -> Subject:
    """On pretended GPUs."""
    subject = Subject.load(folder, device="cpu")
    family = subject.card.family
    whole = {"": GPUS[0]}
    placed = device_map(subject._model, family, GPUS[:num_gpus]) if num_gpus > 1 else whole
    for name, device in placed.items():
        put(subject._model.get_submodule(name), device)
    with PretendedGpus():
        return Subject(subject._model, subject.tokenizer, subject.card)


def passes(folder: str, num_gpus: int, sae: Sae, windows_WT: Tensor) -> dict[str, Any]:
    """What every kind of pass comes to, from hook points on different GPUs."""
    subject, latents = spread(folder, num_gpus), [3, 17, 29]
    put(sae._sae, GPUS[num_gpus - 1])
    found: dict[str, Any] = {}
    with PretendedGpus():
        assert subject.device == GPUS[num_gpus - 1] == subject.W_U_DV.device
        places = [*range(5), *(subject.place(f"blocks.{i}.hook_mlp_out") for i in range(4))]
        found["residuals"] = list(subject.residuals(windows_WT, places).values())
        assert {h.device for h in found["residuals"]} == {subject.device}
        values_B = torch.tensor([5.0, -4.0, 2.0], device=subject.device)
        for read, hook_point in (
            ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_pre"),
            ("blocks.0.hook_mlp_out", "blocks.2.hook_resid_post"),
        ):
            sae.read_point, sae.hook_point = read, hook_point
            clean = clean_run(subject, sae, latents, windows_WT, keep_keys=True)
            fires_W = ((clean.acts_WTL[..., 1] > 0) & clean.mask_WT).any(1).nonzero()[:, 0]
            changes_NWT = torch.full_like(clean.acts_WTL[fires_W][..., 0], 3.0)[None]
            changes = window_changes(subject, sae, clean, latents, values_B, 2)
            found[hook_point] = [
                clean.normed_WTD,
                subject.resume(clean.h_WTD, clean.site),
                changes.sums_BWD,
                next_token_effects(subject, clean.normed_WTD[:, -1], changes.last_BWD).kl_B,
                last_position_states(subject, sae, clean, latents, values_B, 2),
                active_changes(subject, sae, clean, 17, fires_W, changes_NWT, 3).sums_NWD,
                window_jacobians(subject, clean.h_WTD, clean.mask_WT, clean.site, range(3)),
            ]
            rows = [SteeredRow(3, 6.0, 11), SteeredRow(17, -8.0, 13), SteeredRow(None, 0.0, 16)]
            texts = steer(subject, sae, [0, 41, 77, 1, 200, 90, 33, 101, 64, 250], rows, 4, 0.9)
            found[hook_point].append(torch.tensor(texts))
    return found


def test_every_pass_over_three_gpus_equals_that_on_one_bit_for_bit(
    tiny_folder: TinyFolder, sae_folder: Callable[..., str], windows_WT: Tensor, model_type: str
) -> None:
    """A tensor left on another GPU fails in the pass."""
    if model_type in ("gpt_oss", "qwen3_moe", "qwen3_5_moe"):
        pytest.skip("a pretended GPU has no kernel that counts the tokens of each expert")
    sae = Sae.load(sae_folder("topk", k=6))
    one, three = (passes(tiny_folder(model_type), n, sae, windows_WT) for n in (1, 3))
    for name, tensors in one.items():
        for number, (expected, found) in enumerate(zip(tensors, three[name], strict=True)):
            assert torch.equal(expected, found), (name, number)


def test_cross_layer_writes_reach_blocks_on_other_gpus(
    tiny_folder: TinyFolder, cross_layer_folder: Callable[..., str], windows_WT: Tensor
) -> None:
    sae = Sae.load(cross_layer_folder(), layer=0)
    latents, found = [3, 17, 29], []
    for num_gpus in (1, 3):
        subject, last = spread(tiny_folder("llama"), num_gpus), GPUS[num_gpus - 1]
        put(sae._sae, last)
        sae._decoders_LSZ.pretended = last  # type: ignore[union-attr, attr-defined]
        with PretendedGpus():
            values_B = torch.tensor([5.0, -4.0, 2.0], device=last)
            clean = clean_run(subject, sae, latents, windows_WT, keep_keys=True)
            rows = [SteeredRow(3, 6.0, 11), SteeredRow(None, 0.0, 16)]
            texts = steer(subject, sae, [0, 41, 77, 1, 200, 90], rows, 3, 0.0)
            found.append(
                [
                    window_changes(subject, sae, clean, latents, values_B, 2).sums_BWD,
                    last_position_states(subject, sae, clean, latents, values_B, 2),
                    torch.tensor(texts),
                ]
            )
    for expected, spread_out in zip(*found, strict=True):
        assert torch.equal(expected, spread_out)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
def test_weights_loaded_by_a_map_are_those_loaded_whole(
    tiny_folder: TinyFolder,
    tiny: Callable[..., Subject],
    windows_WT: Tensor,
    model_type: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For Hugging Face `cpu` and `cpu:0` are two devices. Two of the three have tied embeddings."""
    two, maps = [torch.device("cpu"), torch.device("cpu", 0)], []

    def dispatch(model: Any, _quantizer: Any, device_map: dict[str, Any], *_: Any) -> None:
        maps.append(device_map)
        attach_execution_device_hook(model, "cpu")

    monkeypatch.setattr("ray_autointerp.models.load_model._devices", lambda *_: two)
    # Accelerate takes `cpu:0` for another device than the weights say they are on.
    monkeypatch.setattr("transformers.modeling_utils.accelerate_dispatch", dispatch)
    loaded = Subject.load(tiny_folder(model_type), num_gpus=2)
    assert [set(placed.values()) for placed in maps] == [set(two)]
    assert not any(hasattr(module, "_hf_hook") for module in loaded._model.modules())
    for subject in (loaded, tiny(model_type)):
        head, embedding = (
            subject._model.get_output_embeddings(),
            subject._model.get_input_embeddings(),
        )
        assert (head.weight is embedding.weight) == (model_type != "llama")
    h_WTD = tiny(model_type).residual(windows_WT, 2)
    assert torch.equal(loaded.residual(windows_WT, 2), h_WTD)
    assert torch.equal(loaded.resume(h_WTD, 2), tiny(model_type).resume(h_WTD, 2))


def test_more_gpus_than_the_worker_sees_are_refused(
    tiny_folder: TinyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SubjectError, match=r"subject_gpus is 3, and this worker sees 2 GPU\(s\)"):
        Subject.load(tiny_folder("llama"), num_gpus=3)


def test_map_names_every_weight_and_keeps_tied_ones_together(
    tiny_folder: TinyFolder, model_type: str
) -> None:
    folder = tiny_folder(model_type)
    model, family = without_weights(folder, None), family_of(model_config(folder, None).model_type)
    assert family is not None
    placed = device_map(model, family, GPUS)
    check_device_map(model, placed)
    layers = [placed[f"{family.body}.{family.layers}.{i}"] for i in range(4)]
    assert layers[0] == GPUS[0] and layers == sorted(layers, key=GPUS.index)
    assert set(placed.values()) == set(GPUS)
    rest = {device for name, device in placed.items() if f".{family.layers}." not in name}
    assert rest == {GPUS[-1]}


def in_layers(number: int, vocab: int, beside: int = 0, gpus: int = 3) -> list[int]:
    """Layers on each GPU."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        num_hidden_layers=number,
        hidden_size=64,
        intermediate_size=256,
        num_attention_heads=4,
        vocab_size=vocab,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    family = family_of("llama")
    assert family is not None
    placed = device_map(model, family, GPUS[:gpus], beside)
    layers = [device for name, device in placed.items() if ".layers." in name]
    return [layers.count(gpu) for gpu in GPUS[:gpus]]


LAYER = 4 * 64 * 64 + 3 * 64 * 256 + 2 * 64
"""Parameters."""


def test_each_gpu_holds_about_as_much() -> None:
    """A layer has 65,664 parameters; embedding and unembedding have 128 for each token."""
    assert in_layers(30, vocab=8) == [10, 10, 10]
    assert in_layers(31, vocab=8, gpus=2) in ([15, 16], [16, 15])
    assert in_layers(30, vocab=6 * LAYER // 128) == [12, 12, 6], "embeddings are worth six"
    assert in_layers(30, vocab=8, beside=6 * LAYER) == [12, 12, 6], "and so are the SAEs"
    assert in_layers(30, vocab=60 * LAYER // 128) == [15, 15, 0], "the last one is full"
