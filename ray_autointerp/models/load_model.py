"""Loading of a subject's weights by Hugging Face; TransformerLens must know them."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from accelerate.hooks import remove_hook_from_module
from safetensors import SafetensorError
from transformer_lens.model_bridge.sources.transformers import (
    determine_architecture_from_hf_config,
)
from transformers import AutoModelForCausalLM

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.device_map import device_map
from ray_autointerp.models.families import Family
from ray_autointerp.models.subject_card import (
    first_line,
    model_config,
    whole_config,
    without_weights,
)

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


_TEXT_PART = {
    r"^(model\.)?language_model\.(model\.)?(?!lm_head)": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}
"""Names of weights in the files of models that also read images, as their text part has them."""


# Outside inference mode: experts' weights are put together while they are loaded, and autograd
# cannot save tensors that were made inside.
@torch.inference_mode(False)
@torch.no_grad()
def load_model(
    model: str,
    family: Family,
    *,
    device: Literal["auto", "cpu", "cuda"],
    num_gpus: int,
    beside: int,
    dtype: str,
    model_kwargs: Mapping[str, Any],
    revision: str | None,
) -> Any:
    """The Hugging Face model with its raw weights (no folding), on its devices (device_map.py).

    Its architecture must be one for which TransformerLens has a bridge, as the names of hook points
    are TransformerLens'. Raises SubjectError.
    """
    try:
        determine_architecture_from_hf_config(whole_config(model, revision))
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model,
            config=model_config(model, revision),
            key_mapping=_TEXT_PART,
            revision=revision,
            dtype=_DTYPES[dtype],
            device_map=_placed(model, family, _devices(device, num_gpus), revision, beside),
            **{**_attention(model, revision), **model_kwargs},
        )
        # Accelerate's hooks, on every module, cost time and cannot be compiled: see move_inputs.
        remove_hook_from_module(loaded, recurse=True)
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


def _placed(
    model: str, family: Family, devices: list[torch.device], revision: str | None, beside: int
) -> dict[str, torch.device]:
    if len(devices) == 1:
        return {"": devices[0]}
    return device_map(without_weights(model, revision), family, devices, beside)


def _devices(name: Literal["auto", "cpu", "cuda"], num_gpus: int) -> list[torch.device]:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return [torch.device("cpu")]
    if num_gpus > torch.cuda.device_count():
        raise SubjectError(
            f"operations.subject_gpus is {num_gpus}, and this worker sees "
            f"{torch.cuda.device_count()} GPU(s): set it to as many as one machine has."
        )
    return [torch.device("cuda", number) for number in range(num_gpus)]
