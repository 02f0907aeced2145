"""A subject as its configuration and tokenizer describe it: no weights are loaded.

Hook points are checked here, so that a wrong one is refused before any heavy work.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.families import Family, family_of, supported
from ray_autointerp.models.hook_point import Blocks, Inside, Place
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.records.keys import files_digest


@dataclass(frozen=True)
class SubjectCard:
    """The facts of a model that its configuration and tokenizer give; no weights are read."""

    model: str
    model_type: str
    d_model: int
    num_layers: int
    vocab_size: int
    context_length: int
    num_parameters: int
    tokenizer_digest: str
    num_head_outputs: int
    """Width of attn.hook_z, all heads together."""
    is_parallel: bool = False
    """Whether attention and MLP of a block read the same state."""
    linear_layers: frozenset[int] = frozenset()
    """Blocks whose attention is linear."""

    @property
    def family(self) -> Family:
        """The adapter of the model's family; `describe` refuses models without one."""
        family = family_of(self.model_type)
        assert family is not None
        return family

    @property
    def blocks(self) -> Blocks:
        """What its hook points are."""
        return Blocks(
            self.model, self.num_layers, self.family, self.is_parallel, self.linear_layers
        )

    def width(self, place: Place) -> int:
        """Numbers in a vector at a place."""
        is_heads = isinstance(place, Inside) and place.where == "z"
        return self.num_head_outputs if is_heads else self.d_model

    def hook_points(self) -> list[str]:
        """The residual-stream hook points that a pass can be resumed from."""
        return [
            f"blocks.{i}.hook_resid_{side}"
            for i in range(self.num_layers)
            for side in ("pre", "post")
        ]


def describe(
    model: str, *, revision: str | None = None, device: Literal["auto", "cpu", "cuda"] = "auto"
) -> SubjectCard:
    """Look at a hub name or local directory without loading weights. Raises SubjectError."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SubjectError("subject.device is `cuda` and there is no GPU here: say `cpu`.")
    config = model_config(model, revision)
    family = family_of(config.model_type)
    if family is None:
        raise SubjectError(
            f"{model} is of the family `{config.model_type}`, which cannot be resumed from a hook "
            f"point here; supported are {supported()}."
        )
    tokenizer = SubjectTokenizer.load(model, revision=revision)
    for name, token in (("BOS", tokenizer.bos_id), ("EOS", tokenizer.eos_id)):
        if token is not None and token >= config.vocab_size:
            raise SubjectError(
                f"The tokenizer of {model} has the {name} token {token}, and the embedding has "
                f"{config.vocab_size} rows, for ids from 0 to {config.vocab_size - 1}: give the "
                "tokenizer that the model was trained with, or add the missing rows to the model."
            )
    return SubjectCard(
        model=model,
        model_type=config.model_type,
        d_model=config.hidden_size,
        num_layers=config.num_hidden_layers,
        vocab_size=config.vocab_size,
        context_length=getattr(config, family.context),
        num_parameters=sum(p.numel() for p in without_weights(model, revision).parameters()),
        tokenizer_digest=tokenizer.digest(),
        num_head_outputs=config.num_attention_heads
        * (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads),
        is_parallel=family.parallel is not None and getattr(config, family.parallel),
        linear_layers=frozenset(
            layer
            for layer, kind in enumerate(getattr(config, "layer_types", None) or ())
            if kind == "linear_attention"
        ),
    )


def subject_digest(model: str, *, revision: str | None = None) -> str:
    """sha256 over a local directory's config and weights; `name@revision` for the hub."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{revision or 'default'}"
    return files_digest(sorted([folder / "config.json", *folder.glob("*.safetensors")]))


def model_config(model: str, revision: str | None) -> Any:
    """The Hugging Face configuration of a hub name or directory; of a model that also reads images,
    of its text part, which is all that is loaded. Raises SubjectError.
    """
    return whole_config(model, revision).get_text_config()


def whole_config(model: str, revision: str | None) -> Any:
    """The same, of the whole model."""
    looks_local = model.startswith(("/", ".", "~"))
    if looks_local and not Path(model).is_dir():
        raise SubjectError(f"The subject's directory {model} does not exist; set subject.model.")
    try:
        return AutoConfig.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise SubjectError(f"The subject {model} cannot be found: {first_line(error)}") from error


def without_weights(model: str, revision: str | None) -> Any:
    """The Hugging Face model with shapes and no numbers. Raises SubjectError."""
    config = model_config(model, revision)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise SubjectError(
            f"The config.json of {model} describes no model: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().split("\n")[0]
