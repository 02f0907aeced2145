"""Where each model family keeps its layers, its final norm and its unembedding.

TransformerLens names hook points; to resume a pass from one of them the Hugging Face layers are
called directly (platform notes 16: exact, and the only way that skips the lower layers). One
small adapter per family; a family without one cannot be a subject, and the error says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from ray_autointerp.methods.vocab_proj import FinalNorm


@dataclass(frozen=True)
class Family:
    """How to find the parts of one family's causal language model."""

    model_types: tuple[str, ...]
    """`model_type` in the Hugging Face config: of a model that also reads images, its text part's.
    """
    body: str
    """Attribute path from the causal LM to the stack that holds layers and final norm."""
    layers: str
    """Attribute of the list of layers in the stack."""
    norm: str
    """Attribute of the final norm in the stack."""
    norm_kind: Literal["layer", "rms"] = "rms"
    unit_offset: bool = False
    """Whether the norm multiplies by 1 + weight (Gemma)."""
    context: str = "max_position_embeddings"
    """Config field with the longest context."""
    mlp: str = "mlp"
    """Attribute of the MLP in a layer."""
    mlp_norm: str = "post_attention_layernorm"
    """Attribute of the norm before the MLP in a layer."""
    mlp_post_norm: str | None = None
    """Attribute of the norm after the MLP, where the family has one."""
    attention: str = "self_attn"
    """Attribute of the attention in a layer; `linear_attn` where its attention is linear."""
    attention_output: str = "o_proj"
    """Attribute of the output projection in the attention."""
    attention_post_norm: str | None = None
    """Attribute of the norm after the attention, where the family has one."""
    parallel: str | None = None
    """Field of the config that says whether the MLP reads the state before the attention."""


LINEAR_ATTENTION = "linear_attn"

FAMILIES: tuple[Family, ...] = (
    Family(
        ("gpt2",),
        "transformer",
        "h",
        "ln_f",
        norm_kind="layer",
        context="n_positions",
        mlp_norm="ln_2",
        attention="attn",
        attention_output="c_proj",
    ),
    Family(
        ("gpt_neox",),
        "gpt_neox",
        "layers",
        "final_layer_norm",
        norm_kind="layer",
        attention="attention",
        attention_output="dense",
        parallel="use_parallel_residual",
    ),
    Family(
        ("llama", "qwen2", "qwen3", "qwen3_moe", "gpt_oss", "mistral"), "model", "layers", "norm"
    ),
    Family(
        ("gemma", "qwen3_5_text", "qwen3_5_moe_text"), "model", "layers", "norm", unit_offset=True
    ),
    Family(
        ("gemma2", "gemma3_text"),
        "model",
        "layers",
        "norm",
        unit_offset=True,
        mlp_norm="pre_feedforward_layernorm",
        mlp_post_norm="post_feedforward_layernorm",
        attention_post_norm="post_attention_layernorm",
    ),
)


@dataclass(frozen=True)
class Parts:
    """The parts of one loaded model."""

    family: Family
    layers: nn.ModuleList
    norm: nn.Module
    head: nn.Linear
    final_norm: FinalNorm
    softcap: float | None
    """Gemma 2's cap on the final logits; None elsewhere."""

    def attention(self, layer: int) -> nn.Module:
        """A layer's attention."""
        block = self.layers[layer]
        found = getattr(block, self.family.attention, None) or getattr(block, LINEAR_ATTENTION)
        return cast(nn.Module, found)

    def attention_output(self, layer: int) -> nn.Module:
        """The projection from the heads' outputs to the residual stream."""
        return cast(nn.Module, getattr(self.attention(layer), self.family.attention_output))

    @property
    def has_linear_attention(self) -> bool:
        """Whether some layer carries a state in place of keys and values."""
        return any(hasattr(layer, LINEAR_ATTENTION) for layer in self.layers)


def family_of(model_type: str) -> Family | None:
    """The adapter for a Hugging Face model type, or None."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def supported() -> str:
    """The model types that can be subjects, for an error message."""
    return ", ".join(sorted(name for family in FAMILIES for name in family.model_types))


def parts_of(model: Any, family: Family) -> Parts:
    """The parts of a loaded causal language model of that family."""
    body = getattr(model, family.body)
    norm = getattr(body, family.norm)
    gain_D = norm.weight.detach()
    bias_D = getattr(norm, "bias", None)
    final_norm = FinalNorm(
        kind=family.norm_kind,
        gain_D=1 + gain_D if family.unit_offset else gain_D,
        bias_D=None if bias_D is None else bias_D.detach(),
        eps=eps_of(norm),
    )
    return Parts(
        family=family,
        layers=getattr(body, family.layers),
        norm=norm,
        head=model.get_output_embeddings(),
        final_norm=final_norm,
        softcap=getattr(model.config, "final_logit_softcapping", None),
    )


def eps_of(norm: nn.Module) -> float:
    """A norm's epsilon, under whatever name its family has for it."""
    for name in ("variance_epsilon", "eps"):
        if hasattr(norm, name):
            return float(getattr(norm, name))
    raise AssertionError(f"{type(norm).__name__} has no epsilon under a known name")


def first_tensor(output: Any) -> torch.Tensor:
    """A layer's hidden states: layers return a tensor or a tuple, by family and version."""
    return output if isinstance(output, torch.Tensor) else output[0]


Layer = Callable[..., Any]
