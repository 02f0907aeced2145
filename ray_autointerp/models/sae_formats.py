"""SAE checkpoints as people have them on disk, each told as SAELens' inference classes want them.

SAELens' own folders are taken as they are; BatchTopK and Matryoshka training checkpoints become
JumpReLU by the threshold they learned, as SAELens itself saves them for inference; sparsify
folders (EleutherAI) become TopK. Anything else is refused with a sentence.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sae_lens.loading.pretrained_sae_loaders import sae_lens_disk_loader
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ray_autointerp.errors import SaeError

_BATCH_TOPK = ("batchtopk", "matryoshka_batchtopk")
"""Training architectures whose sparsity depends on the batch; a learned threshold replaces it."""

_WEIGHTS = {"sae_weights.safetensors": "sae_lens", "sae.safetensors": "sparsify"}


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds an SAE."""

    folder: Path
    config: dict[str, Any]
    """As SAELens' inference configuration has it."""
    weights: Path
    shape: tuple[int, ...]
    """Of the decoder."""


def read_checkpoint(path: str) -> Checkpoint:
    """Its configuration, without reading the weights. Raises SaeError."""
    folder = Path(path)
    found = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not found or not (folder / "cfg.json").is_file():
        raise SaeError(
            f"There is no SAE in {path}: it needs cfg.json and sae_weights.safetensors (SAELens) "
            "or sae.safetensors (sparsify)."
        )
    weights = found[0]
    try:
        raw = json.loads((folder / "cfg.json").read_text())
        with safe_open(weights, "pt") as tensors:
            names = set(tensors.keys())
            shape = tuple(tensors.get_slice("W_dec").get_shape()) if "W_dec" in names else ()
    except (ValueError, OSError, SafetensorError) as error:
        raise SaeError(f"The SAE in {path} cannot be read: {error}.") from error
    if not isinstance(raw, dict) or "d_in" not in raw:
        raise SaeError(f"{folder / 'cfg.json'} is no SAE's configuration: it needs d_in and d_sae.")
    if not shape:
        raise SaeError(f"The SAE in {path} has no decoder `W_dec` among its weights.")
    if _WEIGHTS[weights.name] == "sparsify":
        return Checkpoint(folder, _from_sparsify(folder, raw), weights, shape)
    if "d_sae" not in raw:
        raise SaeError(f"{folder / 'cfg.json'} is no SAE's configuration: it needs d_in and d_sae.")
    if raw.get("architecture") in _BATCH_TOPK:
        if not {"topk_threshold", "threshold"} & names:
            raise SaeError(
                f"The {raw['architecture']} SAE in {path} has no `topk_threshold`, without which "
                "it depends on its batch: save it for inference with SAELens."
            )
        raw = {**raw, "architecture": "jumprelu"}
    return Checkpoint(folder, raw, weights, shape)


def load_weights(
    path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The `converter` that SAELens' `load_from_disk` takes: configuration and state dict."""
    checkpoint = read_checkpoint(str(path))
    if _WEIGHTS[checkpoint.weights.name] == "sparsify":
        config = {**checkpoint.config, "device": device, **(cfg_overrides or {})}
        return config, _sparsify_weights(checkpoint, device)
    config, state = sae_lens_disk_loader(path, device, cfg_overrides)
    if config.get("architecture") not in _BATCH_TOPK:
        return config, state
    threshold = state.pop("topk_threshold", None)
    if "threshold" not in state:
        assert threshold is not None
        state["threshold"] = torch.ones_like(state["b_enc"]) * float(threshold)
    return {**config, "architecture": "jumprelu"}, state


def _from_sparsify(folder: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """sparsify: x less b_dec through the encoder, ReLU, the k largest, W_dec rows, b_dec."""
    for flag, means in (
        ("signed", "keeps negative activations"),
        ("transcode", "is a transcoder"),
        ("skip_connection", "has a skip connection"),
    ):
        if raw.get(flag):
            raise SaeError(
                f"The sparsify SAE in {folder} {means}, so that a latent cannot be clamped along "
                "its decoder in the residual stream."
            )
    activation = raw.get("activation", "topk")
    if activation != "topk":
        raise SaeError(f"The sparsify SAE in {folder} is of `{activation}`: only `topk` is read.")
    place = re.search(r"layers\.(\d+)(\.\w+)?$", folder.name)
    return {
        "architecture": "topk",
        "d_in": raw["d_in"],
        "d_sae": raw.get("num_latents") or raw["d_in"] * raw["expansion_factor"],
        "k": raw["k"],
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {
            "hook_name": f"blocks.{place[1]}.hook_resid_post" if place and not place[2] else None
        },
    }


def _sparsify_weights(checkpoint: Checkpoint, device: str) -> dict[str, Tensor]:
    raw = {name: x.float() for name, x in load_file(checkpoint.weights, device=device).items()}
    return {
        "W_enc": raw["encoder.weight"].T.contiguous(),
        "b_enc": raw["encoder.bias"],
        "W_dec": raw["W_dec"],
        "b_dec": raw["b_dec"],
    }
