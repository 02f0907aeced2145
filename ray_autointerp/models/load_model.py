"""Loading of a subject's weights by Hugging Face; TransformerLens must know them."""

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.subject_card import first_line, model_config
from ray_autointerp.models.tokenizer import SubjectTokenizer

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def load_model(
    model: str,
    tokenizer: SubjectTokenizer,
    *,
    device: Literal["auto", "cpu", "cuda"],
    dtype: str,
    model_kwargs: Mapping[str, Any],
    revision: str | None,
) -> Any:
    """The Hugging Face model with its raw weights (no folding), on its device.

    TransformerLens' bridge is booted around a twin that shares the parameters: it must know the
    architecture. Raises SubjectError.
    """
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model,
            revision=revision,
            dtype=_DTYPES[dtype],
            **{**_attention(model, revision), **model_kwargs},
        )
        loaded = loaded.to(_torch_device(device))
        boot(model, _twin(loaded), tokenizer)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        why = first_line(error)
        if "ignore_mismatched_sizes" in why:  # which Hugging Face advises, and nobody should set
            why = "its weights do not have the shapes that its config.json says."
        raise SubjectError(f"The subject {model} cannot be loaded: {why}") from error
    return loaded


def boot(model: str, hf_model: nn.Module, tokenizer: SubjectTokenizer) -> TransformerBridge:
    """TransformerLens' bridge around a Hugging Face model, which it wraps in place."""
    return TransformerBridge.boot_transformers(
        model, hf_model=hf_model, tokenizer=tokenizer.hf, dtype=next(hf_model.parameters()).dtype
    )


def _twin(model: nn.Module) -> nn.Module:
    """Another module tree over the same parameters and buffers."""
    shared = {id(x): x for x in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _attention(model: str, revision: str | None) -> dict[str, str]:
    """Only eager attention caps its scores; the fast kernels leave Gemma 2's cap out silently."""
    is_capped = getattr(model_config(model, revision), "attn_logit_softcapping", None) is not None
    return {"attn_implementation": "eager"} if is_capped else {}


def _torch_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
