"""SAEs, loaded by SAELens: what a latent reads, where it writes, and what its metadata promises.

A latent's direction in residual space must be its decoder row for the clamp's algebra to hold
(h + (v - a_i) W_dec[i]); SAEs for which it is not are refused with a sentence.
"""

# X any leading dimensions, L d_sae, D d_model

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from sae_lens import SAE
from safetensors import SafetensorError
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.methods.max_act import ActiveEntries
from ray_autointerp.models.sae_formats import load_weights, read_checkpoint
from ray_autointerp.models.sparse_encode import encode_sparse

_STATEFUL = ("layer_norm", "constant_norm_rescale", "covariance_whitening")
"""Normalisations under which a latent's direction differs from token to token."""

_CLAMPABLE = ("standard", "gated", "topk", "abstopk", "jumprelu")
"""Architectures that write back, along W_dec, where they read."""

_PROCESSING = (
    "center_unembed",
    "center_writing_weights",
    "fold_ln",
    "fold_value_biases",
    "refactor_factored_attn_matrices",
)
"""Arguments of TransformerLens' loader that reshape weights; SAELens keeps them in metadata."""


@dataclass(frozen=True)
class SaeCard:
    """What an SAE's configuration says; None where its metadata is silent."""

    source: str
    d_in: int
    d_sae: int
    architecture: str
    hook_point: str | None
    context_size: int | None
    prepend_bos: bool | None
    exclude_special_tokens: bool | tuple[int, ...]
    """Whether (or which) special tokens were left out of training."""
    digest: str
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    """How the subject was loaded for training, without TransformerLens' own arguments."""

    def require_fits(self, d_model: int, hook_point: str) -> None:
        """Raises SaeError, naming both shapes, unless the SAE reads that residual stream."""
        if self.d_in != d_model:
            raise SaeError(
                f"The SAE {self.source} reads vectors of {self.d_in}, the subject has "
                f"{d_model} at {hook_point}: it was trained on another model."
            )


def check_card(
    path: str | None, *, release: str | None = None, sae_id: str | None = None
) -> SaeCard:
    """Read an SAE's configuration without its weights, and refuse what cannot be clamped.

    A registry name is resolved (and fetched) by SAELens. Raises SaeError.
    """
    if path is None:
        sae = _from_registry(release, sae_id, "cpu", "float32")
        card = _card(
            f"{release}/{sae_id}", sae.cfg.to_dict(), f"{release}/{sae_id}", sae.W_dec.shape
        )
    else:
        found = read_checkpoint(path)
        digest = _digest(found.folder / "cfg.json", found.weights)
        card = _card(path, found.config, digest, found.shape)
    return card


def _card(source: str, config: dict[str, Any], digest: str, shape: Sequence[int]) -> SaeCard:
    architecture = config.get("architecture", "standard")
    normalization = config.get("normalize_activations", "none")
    if architecture not in _CLAMPABLE:
        raise SaeError(
            f"The SAE {source} is of architecture `{architecture}`, which cannot be clamped along "
            f"its decoder; supported are {', '.join(_CLAMPABLE)}."
        )
    if normalization in _STATEFUL:
        raise SaeError(
            f"The SAE {source} normalises activations by `{normalization}`, so that a latent's "
            "direction differs from token to token and cannot be clamped."
        )
    if config.get("reshape_activations", "none") not in ("none", None):
        raise SaeError(f"The SAE {source} reads reshaped attention heads, not the residual stream.")
    if tuple(shape) != (config["d_sae"], config["d_in"]):
        raise SaeError(
            f"The SAE {source} says {config['d_sae']} x {config['d_in']} and its decoder is "
            f"{shape[0]} x {shape[1]}."
        )
    metadata = {**config, **(config.get("metadata") or {})}
    model_kwargs = dict(metadata.get("model_from_pretrained_kwargs") or {})
    if model_kwargs.get("center_writing_weights"):
        raise SaeError(
            f"The SAE {source} was trained with center_writing_weights, on a residual stream "
            "without its mean; here the subject runs with its weights as they are."
        )
    excluded = metadata.get("exclude_special_tokens") or False
    return SaeCard(
        source=source,
        d_in=config["d_in"],
        d_sae=config["d_sae"],
        architecture=architecture,
        hook_point=metadata.get("hook_name"),
        context_size=metadata.get("context_size"),
        prepend_bos=metadata.get("prepend_bos"),
        exclude_special_tokens=tuple(excluded) if isinstance(excluded, list) else bool(excluded),
        digest=digest,
        model_kwargs={k: v for k, v in model_kwargs.items() if k not in _PROCESSING},
    )


class Sae:
    """A loaded SAE. Inference only."""

    def __init__(self, sae: Any, hook_point: str) -> None:
        self._sae = sae.eval().requires_grad_(False)
        self.hook_point = hook_point

    @classmethod
    def load(
        cls,
        path: str | None,
        *,
        release: str | None = None,
        sae_id: str | None = None,
        hook_point: str | None = None,
        device: torch.device | str = "cpu",
        dtype: str = "float32",
    ) -> "Sae":
        """From a folder (SAELens' or sparsify's), or from SAELens' registry. Raises SaeError."""
        card = check_card(path, release=release, sae_id=sae_id)
        where = hook_point or card.hook_point
        if where is None:
            raise SaeError(f"The SAE {card.source} names no hook point; give one.")
        if path is None:
            return cls(_from_registry(release, sae_id, str(device), dtype), where)
        try:
            return cls(_from_folder(path, str(device), dtype), where)
        except (ValueError, TypeError, RuntimeError, SafetensorError) as error:
            said = " ".join(str(error).split())
            raise SaeError(f"The SAE in {path} cannot be loaded: {said}.") from error

    @property
    def W_dec_LD(self) -> Tensor:
        """Decoder rows: a latent's direction at unit activation, in residual space."""
        rows = self._sae.W_dec
        if getattr(self._sae.cfg, "rescale_acts_by_decoder_norm", False):
            # Activations carry the decoder's norm, decoding divides by it.
            rows = rows / rows.norm(dim=-1, keepdim=True)
        return cast(Tensor, rows)

    @property
    def W_enc_DL(self) -> Tensor:
        """Encoder columns: what each latent reads, before its bias and threshold."""
        return cast(Tensor, self._sae.W_enc)

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return int(self._sae.cfg.d_sae)

    @torch.inference_mode()
    def activations(self, h_XD: Tensor) -> Tensor:
        """Activations [..., L] of residual states, in the SAE's dtype."""
        return cast(Tensor, self._sae.encode(h_XD.to(self._sae.dtype)))

    def active_entries(self, h_WTD: Tensor, mask_WT: Tensor, latents: slice) -> ActiveEntries:
        """The non-zero activations of some latents where the mask is true; cost goes by those."""
        return encode_sparse(self._sae, h_WTD, mask_WT, latents)

    @torch.inference_mode()
    def activations_of(self, h_XD: Tensor, latents_B: Tensor) -> Tensor:
        """Activations [..., B] of some latents.

        The whole encoding is computed: under TopK a latent's activation depends on all others.
        """
        flat = h_XD.reshape(-1, h_XD.shape[-1])
        parts = [self.activations(chunk)[:, latents_B] for chunk in torch.split(flat, 4096)]
        return torch.cat(parts).reshape(*h_XD.shape[:-1], len(latents_B))


def _from_folder(path: str, device: str, dtype: str) -> Any:
    return SAE.load_from_disk(path, device=device, dtype=dtype, converter=load_weights)


def _from_registry(release: str | None, sae_id: str | None, device: str, dtype: str) -> Any:
    try:
        return SAE.from_pretrained(str(release), str(sae_id), device=device, dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        raise SaeError(
            f"SAELens cannot load {release}/{sae_id}: {str(error).splitlines()[0]}"
        ) from error


def _digest(*files: Path) -> str:
    content = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()[:16]
