"""What is known of a subject without its weights, and the hook points that are refused by it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.subject import Subject
from ray_autointerp.models.subject_card import describe, subject_digest

Tiny = Callable[..., Subject]


def test_card_reads_the_configuration_alone(
    tiny_folder: Callable[[str], str], tmp_path: Path
) -> None:
    for model_type in ("gpt2", "llama"):
        folder = tmp_path / model_type
        shutil.copytree(tiny_folder(model_type), folder)
        (folder / "model.safetensors").unlink()
        card = describe(str(folder))
        assert (card.d_model, card.num_layers, card.vocab_size) == (32, 4, 280)
        assert (card.context_length, card.model_type) == (512, model_type)


@pytest.mark.parametrize("name", ["bos_token", "eos_token"])
def test_special_token_that_the_embedding_lacks_is_refused(
    tiny_folder: Callable[[str], str], tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "copy"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<new{i}>" for i in range(100)])
    tokenizer.add_special_tokens({name: "<mine>"})
    tokenizer.save_pretrained(folder)
    assert len(tokenizer) > 281
    token = tokenizer.convert_tokens_to_ids("<mine>")
    with pytest.raises(SubjectError, match=rf"{name[:3].upper()} token {token}, .*280 rows"):
        describe(str(folder))


def test_digest_follows_the_weights_not_the_place(
    tiny_folder: Callable[[str], str], tmp_path: Path
) -> None:
    one = tiny_folder("llama")
    copy = tmp_path / "copy"
    shutil.copytree(one, copy)
    assert subject_digest(str(copy)) == subject_digest(one)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert subject_digest(str(copy)) != subject_digest(one)
    assert subject_digest("org/name", revision="abc") == "org/name@abc"


@pytest.mark.parametrize(
    "hook_point",
    [
        "blocks.4.hook_resid_post",
        "blocks.4.hook_mlp_out",
        "blocks.1.attn.hook_q",
        "blocks.-1.hook_resid_post",
        "blocks.1.hook_resid_post.extra",
        "blocks.x.hook_resid_post",
        "",
    ],
)
def test_hook_point_that_does_not_exist_is_refused_with_those_that_do(
    tiny: Tiny, hook_point: str
) -> None:
    with pytest.raises(SubjectError) as caught:
        tiny("llama").card.blocks.write_site(hook_point)
    message = str(caught.value)
    assert f"`{hook_point}`" in message and "\n" not in message
    assert "blocks.0.hook_resid_pre" in message and "blocks.3.hook_resid_post" in message


def test_missing_directory_and_unknown_name_are_one_sentence(tmp_path: Path) -> None:
    for name, message in ((str(tmp_path / "nope"), "does not exist"), ("nobody/nothing", "nobody")):
        with pytest.raises(SubjectError, match=message) as caught:
            describe(name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("model_type", ["opt", "bert", "mamba"])
def test_family_without_an_adapter_is_refused_with_those_that_have_one(
    tmp_path: Path, model_type: str
) -> None:
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    with pytest.raises(SubjectError) as caught:
        describe(str(tmp_path))
    message = str(caught.value)
    assert (
        f"`{model_type}`" in message
        and "gemma2" in message
        and "llama" in message
        and "\n" not in message
    )


def test_model_whose_text_part_reads_images_on_its_way_is_refused(tmp_path: Path) -> None:
    AutoConfig.for_model("mllama").save_pretrained(tmp_path)
    with pytest.raises(SubjectError, match="`mllama_text_model`"):
        describe(str(tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_refused_before_weights_are_read(
    tiny_folder: Callable[[str], str],
) -> None:
    with pytest.raises(SubjectError, match="say `cpu`"):
        describe(tiny_folder("llama"), device="cuda")
