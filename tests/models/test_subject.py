"""Stopped and resumed passes against Hugging Face's whole pass and TransformerLens' bridge."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens_bridge import boot

from ray_autointerp.errors import SubjectError
from ray_autointerp.methods.vocab_proj import apply_norm
from ray_autointerp.models.hook_point import Inside
from ray_autointerp.models.subject import Subject

Tiny = Callable[..., Subject]


@torch.inference_mode()
def test_split_pass_equals_the_full_pass_bit_for_bit_at_every_site(
    tiny: Tiny, plain: Callable[[str], Any], windows_WT: Tensor, model_type: str
) -> None:
    subject = tiny(model_type)
    full = plain(model_type)(windows_WT, output_hidden_states=True)
    layers = range(subject.card.num_layers)
    written = [subject.site(f"blocks.{layer}.hook_attn_out") for layer in layers]
    for site in (*layers, subject.card.num_layers, *written):
        h_WTD = subject.residual(windows_WT, site)
        normed_WTD = subject.resume(h_WTD, site)
        assert torch.equal(normed_WTD, full.hidden_states[-1]), site
        assert torch.equal(subject.unembed(normed_WTD), full.logits), site


def test_residuals_of_several_sites_are_those_asked_for_one_by_one(
    tiny: Tiny, windows_WT: Tensor
) -> None:
    subject = tiny("llama")
    together = subject.residuals(windows_WT, [3, 0, 2])
    assert sorted(together) == [0, 2, 3]
    for site, h_WTD in together.items():
        assert torch.equal(h_WTD, subject.residual(windows_WT, site))


def test_resumed_pass_of_other_lengths_and_batches_keeps_nothing_from_the_last(
    tiny: Tiny, plain: Callable[[str], Any], windows_WT: Tensor
) -> None:
    """What layers are given beside the states is captured once per length."""
    subject, whole = tiny("gemma3_text"), plain("gemma3_text")
    for rows, length in ((3, 20), (2, 11), (3, 20), (1, 20), (2, 1)):
        windows = windows_WT[:rows, :length]
        with torch.inference_mode():
            logits = whole(windows).logits
        assert torch.equal(subject.unembed(subject.resume(subject.residual(windows, 2), 2)), logits)


@torch.inference_mode()
def test_later_tokens_and_padding_change_no_earlier_state(tiny: Tiny, windows_WT: Tensor) -> None:
    subject = tiny("mistral")
    other = windows_WT.clone()
    other[:, 12:] = 1
    states = [subject.resume(subject.residual(ids, 1), 1) for ids in (windows_WT, other)]
    torch.testing.assert_close(states[0][:, :12], states[1][:, :12], rtol=0, atol=1e-5)
    assert (states[0][:, 12:] - states[1][:, 12:]).abs().max() > 0.1


@torch.inference_mode()
def test_hook_points_are_where_transformer_lens_has_them(
    tiny: Tiny, plain: Callable[[str], Any], windows_WT: Tensor, model_type: str
) -> None:
    subject = tiny(model_type)
    bridge = boot(subject.card.model, deepcopy(plain(model_type)), subject.tokenizer)
    logits, seen = bridge.run_with_cache(windows_WT, prepend_bos=False)
    for name in [*subject.card.hook_points(), "blocks.2.hook_in", "blocks.2.hook_out"]:
        ours_WTD = subject.residual(windows_WT, subject.site(name))
        torch.testing.assert_close(ours_WTD, seen[name], rtol=1e-4, atol=1e-4)
    ours = subject.unembed(subject.resume(subject.residual(windows_WT, 1), 1))
    torch.testing.assert_close(ours, logits, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_places_inside_a_block_hold_what_transformer_lens_has_there(
    tiny: Tiny, plain: Callable[[str], Any], windows_WT: Tensor, model_type: str
) -> None:
    """What transcoders read and SAEs on the MLP's contribution read, with the residual stream."""
    subject = tiny(model_type)
    bridge = boot(subject.card.model, deepcopy(plain(model_type)), subject.tokenizer)
    _, seen = bridge.run_with_cache(windows_WT, prepend_bos=False)
    names = [
        f"blocks.{layer}.{place}"
        for layer in (1, 3)
        for place in (
            "ln2.hook_in",
            "ln2.hook_normalized",
            "ln2.hook_out",
            "mlp.hook_in",
            "hook_mlp_out",
        )
    ]
    places = [subject.place(name) for name in names]
    together = subject.residuals(windows_WT, [2, *places, 4])
    assert len(together) == 2 + 2 * 4, "two names of one place are one tensor"
    for name, place in zip(names, places, strict=True):
        assert together[place].shape == seen[name].shape
        torch.testing.assert_close(together[place], seen[name], rtol=1e-4, atol=1e-4)
    assert torch.equal(together[2], subject.residual(windows_WT, 2))


@torch.inference_mode()
def test_write_to_the_mlps_contribution_is_a_write_behind_its_block(
    tiny: Tiny, plain: Callable[[str], Any], windows_WT: Tensor, model_type: str
) -> None:
    subject = tiny(model_type)
    bridge = boot(subject.card.model, deepcopy(plain(model_type)), subject.tokenizer)
    added_D = torch.randn(subject.card.d_model, generator=torch.Generator().manual_seed(4))
    for layer in (0, 3):
        name = f"blocks.{layer}.hook_mlp_out"

        def add(states: Tensor, hook: Any) -> Tensor:
            return states + added_D

        expected = bridge.run_with_hooks(windows_WT, prepend_bos=False, fwd_hooks=[(name, add)])
        site = subject.site(name)
        moved_WTD = subject.residual(windows_WT, site) + added_D
        logits = subject.unembed(subject.resume(moved_WTD, site))
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_one_name_may_mean_two_places_by_family(tiny: Tiny) -> None:
    """Where a norm follows the MLP, its own output is not what the residual stream is given."""
    assert tiny("llama").site("blocks.1.mlp.hook_out") == 2
    for hook_point in ("blocks.1.mlp.hook_out", "blocks.1.attn.hook_out", "blocks.1.mlp.hook_in"):
        with pytest.raises(SubjectError, match=r"inside a block.*set hook_point to blocks\.1\."):
            tiny("gemma2").site(hook_point)


def test_attention_is_added_within_its_block_or_where_both_read_the_same_state_behind_it(
    tiny: Tiny,
) -> None:
    for name in ("attn.hook_out", "hook_attn_out", "attn.hook_z"):
        assert tiny("llama").site(f"blocks.1.{name}") == Inside(1, "mid")
        assert tiny("gpt_neox").site(f"blocks.1.{name}") == 2
    assert tiny("gemma2").site("blocks.1.ln1_post.hook_out") == Inside(1, "mid")


@pytest.mark.parametrize(
    ("model_type", "module", "hook_point"),
    [
        ("llama", "model.layers.2", "blocks.2.hook_resid_post"),
        ("llama", "model.layers.2.input", "blocks.2.hook_resid_pre"),
        ("llama", "model.layers.2.mlp", "blocks.2.hook_mlp_out"),
        ("llama", "model.layers.2.mlp.input", "blocks.2.mlp.hook_in"),
        ("llama", "model.layers.2.self_attn.o_proj.input", "blocks.2.attn.hook_z"),
        ("llama", "model.layers.2.self_attn", "blocks.2.hook_attn_out"),
        ("gpt2", "transformer.h.3.mlp", "blocks.3.hook_mlp_out"),
        ("gpt2", "transformer.h.3.attn.c_proj.input", "blocks.3.attn.hook_z"),
        ("gpt_neox", "gpt_neox.layers.1.attention.dense", "blocks.1.hook_attn_out"),
        ("gemma2", "model.layers.1.post_feedforward_layernorm.output", "blocks.1.hook_mlp_out"),
        ("gemma2", "model.layers.1.post_attention_layernorm", "blocks.1.hook_attn_out"),
        ("gemma2", "model.layers.1.pre_feedforward_layernorm.output", "blocks.1.ln2.hook_out"),
        ("gemma3", "model.language_model.layers.1", "blocks.1.hook_resid_post"),
    ],
)
def test_hugging_face_modules_are_hook_points_too(
    tiny: Tiny, model_type: str, module: str, hook_point: str
) -> None:
    subject = tiny(model_type)
    assert subject.place(module) == subject.place(hook_point)


def test_module_that_is_no_hook_point_is_refused(tiny: Tiny) -> None:
    for module in ("model.layers.9", "model.layers.1.self_attn.q_proj", "model.embed_tokens"):
        with pytest.raises(SubjectError, match="is not one of"):
            tiny("llama").place(module)
    with pytest.raises(SubjectError, match="inside a block"):
        tiny("gemma2").site("model.layers.1.mlp")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@torch.inference_mode()
def test_split_pass_equals_the_full_pass_in_half_precision(
    tiny: Tiny, windows_WT: Tensor, model_type: str, dtype: str
) -> None:
    """Whole passes of the same weights in the same dtype, from the bottom."""
    subject = tiny(model_type, dtype)
    whole_WTD = subject.resume(subject.residual(windows_WT, 0), 0)
    assert whole_WTD.dtype == getattr(torch, dtype)
    logits = subject._model(windows_WT, use_cache=False).logits
    for site in (1, 2, subject.card.num_layers):
        normed_WTD = subject.resume(subject.residual(windows_WT, site), site)
        assert torch.equal(normed_WTD, whole_WTD)
        assert torch.equal(subject.unembed(normed_WTD), logits)


@torch.inference_mode()
def test_final_norm_and_unembedding_as_numbers_are_those_of_the_pass(
    tiny: Tiny, windows_WT: Tensor, model_type: str
) -> None:
    subject = tiny(model_type)
    h_WTD = subject.residual(windows_WT, subject.card.num_layers)
    normed_WTD = subject.resume(h_WTD, subject.card.num_layers)
    torch.testing.assert_close(
        apply_norm(h_WTD, subject.final_norm), normed_WTD, rtol=1e-4, atol=1e-5
    )
    logits_WTV = normed_WTD @ subject.W_U_DV
    if subject.b_U_V is not None:
        logits_WTV = logits_WTV + subject.b_U_V
    if subject.softcap is not None:
        assert logits_WTV.abs().max() > subject.softcap, "the cap matters"
        logits_WTV = subject.softcap * torch.tanh(logits_WTV / subject.softcap)
    torch.testing.assert_close(subject.unembed(normed_WTD), logits_WTV, rtol=1e-4, atol=1e-4)


def test_only_gemma_2_has_a_softcap(tiny: Tiny, model_type: str) -> None:
    assert tiny(model_type).softcap == (3.0 if model_type == "gemma2" else None)


@pytest.mark.parametrize(
    ("hook_point", "site"),
    [
        ("blocks.0.hook_resid_pre", 0),
        ("blocks.0.hook_resid_post", 1),
        ("blocks.3.hook_resid_pre", 3),
        ("blocks.3.hook_resid_post", 4),
    ],
)
def test_site_is_the_number_of_layers_below(tiny: Tiny, hook_point: str, site: int) -> None:
    assert tiny("llama").site(hook_point) == site


@pytest.mark.parametrize("broken", ["weights", "no weights", "tokenizer", "config"])
def test_broken_directory_is_one_sentence(
    tiny_folder: Callable[[str], str], tmp_path: Path, broken: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder("llama"), folder)
    match broken:
        case "weights":
            (folder / "model.safetensors").write_bytes(b"not these" * 100)
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "tokenizer":
            (folder / "tokenizer.json").unlink()
        case "config":
            (folder / "config.json").write_text("{")
    with pytest.raises(SubjectError) as caught:
        Subject.load(str(folder), device="cpu")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_model_argument_that_does_not_exist_is_one_sentence(
    tiny_folder: Callable[[str], str],
) -> None:
    with pytest.raises(SubjectError, match="colour") as caught:
        Subject.load(tiny_folder("llama"), device="cpu", model_kwargs={"colour": "red"})
    assert "\n" not in str(caught.value)


def test_sink_threshold_is_ten_times_the_median_norm_and_ignores_one_sink(
    tiny: Tiny, windows_WT: Tensor
) -> None:
    subject = tiny("llama")
    for site in (1, 4):
        norms = subject.residual(windows_WT[:, 1:], site).norm(dim=-1)
        assert 5 * norms.median() < subject.sink_threshold(site) < 20 * norms.median()


def test_weights_of_another_vocabulary_than_the_configs_are_refused(
    tiny_folder: Callable[[str], str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    with pytest.raises(SubjectError, match=r"weights do not have the shapes .* config\.json says"):
        Subject.load(str(folder), device="cpu")


def test_matrices_over_the_vocabulary_end_with_the_tokenizers_ids(
    tiny_folder: Callable[[str], str],
) -> None:
    subject = Subject.load(tiny_folder("llama"), device="cpu")
    head = subject._model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.arange(280.0), requires_grad=False)
    subject.tokenizer.num_ids = 270
    assert subject.b_U_V is not None
    assert torch.equal(subject.b_U_V, torch.arange(270.0))
    assert torch.equal(subject.W_U_DV, head.weight[:270].T)
    assert len(subject.W_E_VD) == 270
    assert subject.unembed(torch.zeros(1, 32)).shape == (1, 280), "logits are the model's own"
