"""Loading of a subject's weights by Hugging Face; TransformerLens must know them."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformer_lens.model_bridge.sources.transformers import (
    determine_architecture_from_hf_config,
)
from transformers import AutoModelForCausalLM

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.subject_card import first_line, model_config

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def load_model(
    model: str,
    *,
    device: Literal["auto", "cpu", "cuda"],
    dtype: str,
    model_kwargs: Mapping[str, Any],
    revision: str | None,
) -> Any:
    """The Hugging Face model with its raw weights (no folding), on its device.

    Its architecture must be one for which TransformerLens has a bridge, as the names of hook points
    are TransformerLens'. Raises SubjectError.
    """
    try:
        determine_architecture_from_hf_config(model_config(model, revision))
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model,
            revision=revision,
            dtype=_DTYPES[dtype],
            **{**_attention(model, revision), **model_kwargs},
        )
        loaded = loaded.to(_torch_device(device))
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        why = first_line(error)
        if "ignore_mismatched_sizes" in why:  # which Hugging Face advises, and nobody should set
            why = "its weights do not have the shapes that its config.json says."
        raise SubjectError(f"The subject {model} cannot be loaded: {why}") from error
    return loaded


def _attention(model: str, revision: str | None) -> dict[str, str]:
    """Only eager attention caps its scores; the fast kernels leave Gemma 2's cap out silently."""
    is_capped = getattr(model_config(model, revision), "attn_logit_softcapping", None) is not None
    return {"attn_implementation": "eager"} if is_capped else {}


def _torch_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
