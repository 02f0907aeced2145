"""Tiny random subjects, one per model type that can be resumed, and random SAEs for them."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
)

from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject

WIDTH, NUM_LAYERS, VOCAB, BOS, EOS = 32, 4, 280, 0, 1
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2, "head_dim": 8}
# Windows of 8 are shorter than the texts of the tests, so that sliding matters.
SLIDING = {**GROUPED, "sliding_window": 8}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": VOCAB,
        "n_embd": WIDTH,
        "n_layer": NUM_LAYERS,
        "n_head": 4,
        "n_positions": 512,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    },
    "gpt_neox": SHAPE,
    "llama": GROUPED,
    "mistral": SLIDING,
    "qwen2": {**SHAPE, "num_key_value_heads": 2},
    "qwen3": GROUPED,
    "gemma": GROUPED,
    "gemma2": {
        **SLIDING,
        "query_pre_attn_scalar": 8,
        "final_logit_softcapping": 3.0,
        "attn_logit_softcapping": 1.0,
    },
    "gemma3_text": {**SLIDING, "query_pre_attn_scalar": 8},
    "gemma3": {
        "text_config": {**SLIDING, "query_pre_attn_scalar": 8},
        "vision_config": {**VISION, "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 1,
    },
    "qwen3_moe": {**GROUPED, **EXPERTS},
    "gpt_oss": {**SLIDING, **EXPERTS, "num_local_experts": 4},
    "qwen3_5": {
        "text_config": {**GROUPED, **LINEAR},
        "vision_config": {**VISION, "depth": 1, "num_heads": 2, "out_hidden_size": WIDTH},
    },
    "qwen3_5_moe": {
        "text_config": {**GROUPED, **LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16},
        "vision_config": {**VISION, "depth": 1, "num_heads": 2, "out_hidden_size": WIDTH},
    },
}
MODEL_TYPES = sorted(CONFIGS.keys() - {"gemma3_text"})  # which is the text part of gemma3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with `model_type` and no parameters of its own runs for every one."""
    marks = metafunc.definition.iter_markers("parametrize")
    named = any("model_type" in str(mark.args[0]) for mark in marks)
    if "model_type" in metafunc.fixturenames and not named:
        metafunc.parametrize("model_type", MODEL_TYPES)


@pytest.fixture(scope="session", autouse=True)
def no_installs() -> Iterator[None]:
    """A library that would install packages into the environment cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", "/nowhere")
        patch.setenv("UV_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[[Path], None]:
    """Writes a byte-level BPE tokenizer, of the kind of GPT-2's, into a folder."""

    def write(folder: Path) -> None:
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCAB,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(["the cat sat on the mat and the dog ran over the hill"], trainer)
        PreTrainedTokenizerFast(
            tokenizer_object=bpe, bos_token="<s>", eos_token="</s>"
        ).save_pretrained(folder)

    return write


@pytest.fixture(scope="session")
def tiny_folder(
    tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Callable[[Path], None]
) -> Callable[[str], str]:
    """The directory of a random subject: every weight moved, norms and biases too."""

    @cache
    def write(model_type: str) -> str:
        folder = tmp_path_factory.mktemp(model_type)
        torch.manual_seed(0)
        config = AutoConfig.for_model(model_type, **CONFIGS[model_type])
        kind = AutoModelForImageTextToText if "vision_config" in CONFIGS[model_type] else None
        model = (kind or AutoModelForCausalLM).from_config(config)
        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.25 * torch.randn(parameter.shape, generator=draws)
        model.save_pretrained(folder)
        byte_tokenizer(folder)
        return str(folder)

    return write


@pytest.fixture(scope="session")
def tiny(tiny_folder: Callable[[str], str]) -> Callable[..., Subject]:
    """The loaded subject: tiny("gemma2"), tiny("llama", "bfloat16")."""

    @cache
    def load(model_type: str, dtype: str = "float32") -> Subject:
        return Subject.load(tiny_folder(model_type), device="cpu", dtype=dtype)

    return load


@pytest.fixture(scope="session")
def plain(tiny_folder: Callable[[str], str]) -> Callable[[str], Any]:
    """The same weights as Hugging Face loads and runs them: the oracle of every pass."""

    @cache
    @torch.inference_mode(False)
    def load(model_type: str) -> Any:
        # Eager attention is the one that caps its scores; for the others the default serves.
        attention = {"attn_implementation": "eager"} if model_type == "gemma2" else {}
        model = AutoModelForCausalLM.from_pretrained(
            tiny_folder(model_type), dtype=torch.float32, **attention
        ).eval()
        return model.requires_grad_(False)

    return load


@pytest.fixture(scope="session")
def spliceable(
    tiny_folder: Callable[[str], str], tiny: Callable[..., Subject]
) -> Callable[[str], SAETransformerBridge]:
    """The same weights as TransformerLens runs them, ready for SAELens to splice SAEs in."""

    @cache
    def load(model_type: str) -> SAETransformerBridge:
        return SAETransformerBridge.boot_transformers(
            tiny_folder(model_type), tokenizer=tiny(model_type).tokenizer.hf, device="cpu"
        )

    return load


@pytest.fixture(scope="session")
def sae_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A random SAE as SAELens saves it: sae_folder("topk", k=6), metadata as a dict."""

    def write(
        architecture: str = "standard",
        hook_point: str | None = "blocks.1.hook_resid_post",
        d_in: int = WIDTH,
        d_sae: int = 40,
        metadata: dict[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        config = {
            "architecture": architecture,
            "d_in": d_in,
            "d_sae": d_sae,
            "dtype": "float32",
            "device": "cpu",
            "metadata": {"hook_name": hook_point, **(metadata or {})},
            **fields,
        }
        sae: Any = SAE.from_dict(config)
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in sae.named_parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draws))
                if name == "threshold":
                    parameter.abs_()
        folder = tmp_path_factory.mktemp(architecture)
        sae.save_model(folder)
        return str(folder)

    return write


@pytest.fixture(scope="session")
def sae(sae_folder: Callable[..., str]) -> Callable[..., Sae]:
    """The loaded SAE, by the same arguments."""

    def load(*args: Any, **kwargs: Any) -> Sae:
        return Sae.load(sae_folder(*args, **kwargs))

    return load


@pytest.fixture(scope="session")
def cross_layer_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A random cross-layer transcoder as circuit-tracer saves it; its last latent never fires."""

    def write(
        *,
        has_threshold: bool = False,
        dtype: torch.dtype = torch.float32,
        num_layers: int = NUM_LAYERS,
        d_model: int = WIDTH,
        **hooks: str,
    ) -> str:
        folder, draws = tmp_path_factory.mktemp("clt"), torch.Generator().manual_seed(4)
        config = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}
        config = {"model_name": "tiny", "model_kind": "cross_layer_transcoder", **config, **hooks}
        (folder / "config.yaml").write_text(
            "".join(f"{name}: {value}\n" for name, value in config.items())
        )

        def drawn(*shape: int) -> Tensor:
            return 0.2 * torch.randn(shape, generator=draws)

        for n in range(num_layers):
            encoder = {
                f"W_enc_{n}": drawn(40, d_model),
                f"b_enc_{n}": drawn(40),
                f"b_dec_{n}": drawn(d_model),
            }
            encoder[f"b_enc_{n}"][-1] = -1e6
            if has_threshold:
                encoder[f"threshold_{n}"] = drawn(40).abs()
            decoder = {f"W_dec_{n}": drawn(40, num_layers - n, d_model).to(dtype)}
            save_file(encoder, folder / f"W_enc_{n}.safetensors")
            save_file(decoder, folder / f"W_dec_{n}.safetensors")
        return str(folder)

    return write


@pytest.fixture
def windows_WT() -> Tensor:
    """Three windows of 20 tokens, BOS first, one with a special token in the middle."""
    draws = torch.Generator().manual_seed(2)
    token_ids = torch.randint(2, VOCAB, (3, 20), generator=draws)
    token_ids[:, 0] = BOS
    token_ids[1, 7] = EOS
    return token_ids


@pytest.fixture
def edited_sae(sae_folder: Callable[..., str]) -> Callable[..., str]:
    """A standard SAE's folder after fields of its cfg.json were set, or removed by None."""

    def edit(**fields: Any) -> str:
        folder = sae_folder()
        path = Path(folder) / "cfg.json"
        config = {**json.loads(path.read_text()), **fields}
        path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        return folder

    return edit
