"""SAE folders as people have them, read as SAELens' inference objects.

* SAELens: cfg.json and sae_weights.safetensors, of version 6 or older.
* SAELens' training checkpoints: batch-topk and matryoshka become JumpReLU with the threshold that
  training stored; an activation scale that is not folded yet (activation_scaler.json) is folded.
* sparsify: cfg.json and sae.safetensors in a folder named by its hook point (layers.3.mlp). Read
  here, because SAELens' own converter transposes the decoder of these files.
"""

# L d_sae, D d_model

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE, TrainingSAE
from sae_lens.loading.pretrained_sae_loaders import handle_pre_6_0_config
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.models.finite_weights import require_finite_file
from ray_autointerp.models.sae_tensors import require_sparsify_tensors, require_tensors, shapes_of
from ray_autointerp.records.keys import files_digest

TRAINING_ONLY = ("batchtopk", "matryoshka_batchtopk")
"""Architectures that exist in training alone; SAELens saves them for use as JumpReLU."""

_CONFIG, _SCALE = "cfg.json", "activation_scaler.json"
_LENS_WEIGHTS, _SPARSIFY_WEIGHTS = "sae_weights.safetensors", "sae.safetensors"


@dataclass(frozen=True)
class SaeCheckpoint:
    """One folder, its configuration in SAELens 6's words; weights are not read yet."""

    folder: Path
    config: dict[str, Any]
    is_sparsify: bool

    @classmethod
    def read(cls, path: str) -> "SaeCheckpoint":
        """Look at a folder. Raises SaeError with one sentence."""
        folder = Path(path)
        is_sparsify = not (folder / _LENS_WEIGHTS).is_file()
        weights = folder / (_SPARSIFY_WEIGHTS if is_sparsify else _LENS_WEIGHTS)
        if not (folder / _CONFIG).is_file() or not weights.is_file():
            raise SaeError(
                f"There is no SAE in {path}: it needs {_CONFIG} and {_LENS_WEIGHTS} (SAELens) or "
                f"{_SPARSIFY_WEIGHTS} (sparsify)."
            )
        try:
            raw = json.loads((folder / _CONFIG).read_text())
            shapes = shapes_of(weights)
        except (ValueError, OSError, SafetensorError) as error:
            raise SaeError(f"The SAE in {path} cannot be read: {error}.") from error
        needed = {"d_in"} if is_sparsify else {"d_in", "d_sae"}
        if not isinstance(raw, dict) or not needed <= set(raw):
            raise SaeError(
                f"{folder / _CONFIG} is no SAE's configuration: it needs "
                f"{' and '.join(sorted(needed))}."
            )
        config = _of_sparsify(folder, raw) if is_sparsify else _of_lens(path, raw)
        thresholds = {"topk_threshold", "threshold"}
        if config["architecture"] in TRAINING_ONLY and thresholds.isdisjoint(shapes):
            raise SaeError(
                f"The {config['architecture']} checkpoint {path} holds no topk_threshold, without "
                "which its latents depend on the batch: save it with SAELens' "
                "save_inference_model."
            )
        d_out = config.get("d_out") or config["d_in"]
        sizes = {"d_in": config["d_in"], "d_sae": config["d_sae"], "d_out": d_out}
        if is_sparsify:
            require_sparsify_tensors(path, sizes, shapes)
        else:
            require_tensors(path, config["architecture"], sizes, shapes)
        return cls(folder, config, is_sparsify)

    @cached_property
    def scale(self) -> float | None:
        """The activation scale that is stored beside the weights, if one is."""
        if not (self.folder / _SCALE).is_file():
            return None
        try:
            found = json.loads((self.folder / _SCALE).read_text())["scaling_factor"]
        except (ValueError, KeyError, TypeError) as error:
            raise SaeError(f"{self.folder / _SCALE} is no activation scale: {error}.") from error
        if found is None:
            return None
        if not isinstance(found, int | float) or not 0 < found < math.inf:
            raise SaeError(
                f"{self.folder / _SCALE} is no activation scale: {found!r} is no positive number."
            )
        return float(found)

    @property
    def is_unscaled(self) -> bool:
        """Whether the weights expect activations of the average norm sqrt(d_in)."""
        return self.config.get("normalize_activations") == "expected_average_only_in"

    def digest(self) -> str:
        """sha256 over configuration, weights and, where it is used, scale."""
        is_scaled = self.is_unscaled and self.scale is not None
        files = [self.folder / _CONFIG, self._weights]
        return files_digest([*files, self.folder / _SCALE] if is_scaled else files)

    def require_finite(self) -> None:
        """Raises SaeError at weights that are not finite; reads the file in chunks."""
        require_finite_file(str(self.folder), self._weights)

    @property
    def _weights(self) -> Path:
        return self.folder / (_SPARSIFY_WEIGHTS if self.is_sparsify else _LENS_WEIGHTS)

    def load(self, device: torch.device | str, dtype: str) -> Any:
        """SAELens' inference object. Raises SaeError."""
        try:
            if self.is_sparsify:
                return self._from_sparsify(str(device), dtype)
            if self.config["architecture"] in TRAINING_ONLY:
                return self._from_training(str(device), dtype)
            sae: Any = SAE.load_from_disk(self.folder, device=str(device), dtype=dtype)
        except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            message = " ".join(str(error).split())
            raise SaeError(f"The SAE in {self.folder} cannot be loaded: {message}.") from error
        self._fold_scale(sae)
        return sae

    def _fold_scale(self, sae: Any) -> None:
        if self.is_unscaled:
            assert self.scale is not None, "a card is refused without it"
            sae.fold_activation_norm_scaling_factor(self.scale)

    def _from_training(self, device: str, dtype: str) -> Any:
        """What SAELens' save_inference_model would have written, without writing it."""
        training: Any = TrainingSAE.load_from_disk(self.folder, device="cpu", dtype="float32")
        self._fold_scale(training)
        tensors = training.state_dict()
        training.process_state_dict_for_saving_inference(tensors)
        return filled(training.cfg.get_inference_sae_cfg_dict(), tensors, device, dtype)

    def _from_sparsify(self, device: str, dtype: str) -> Any:
        stored = load_file(self.folder / _SPARSIFY_WEIGHTS)
        tensors = {
            "W_enc": stored["encoder.weight"].T.contiguous(),
            "b_enc": stored["encoder.bias"],
            "W_dec": stored["W_dec"],
            "b_dec": stored["b_dec"],
        }
        return filled(self.config, tensors, device, dtype)


def filled(config: dict[str, Any], tensors: dict[str, Tensor], device: str, dtype: str) -> Any:
    """SAELens' inference object of a configuration in its words, with these weights."""
    sae: Any = SAE.from_dict({**config, "device": "cpu", "dtype": "float32"})
    sae.load_state_dict(tensors)
    return sae.to(device=device, dtype=getattr(torch, dtype))


def _of_lens(path: str, raw: dict[str, Any]) -> dict[str, Any]:
    """Files older than SAELens 6 have other keys and no `metadata`."""
    try:
        config = raw if "metadata" in raw else handle_pre_6_0_config(raw)
    except (KeyError, TypeError) as error:
        raise SaeError(f"The SAE in {path} has a configuration of an unknown kind: {error}.") from (
            error
        )
    return {"architecture": "standard", **config}


def _of_sparsify(folder: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """Options of sparsify in SAELens' words.

    Its SAEs take the decoder's bias off their input, its transcoders do not; `signed` ranks by
    magnitude and keeps signs. A skip connection is part of what is reconstructed, never of a
    latent's activation or direction, and so are options that only training knows.
    """
    if raw.get("activation", "topk") != "topk" or raw.get("gram_lookup"):
        what = "gram_lookup" if raw.get("gram_lookup") else f"activation `{raw['activation']}`"
        raise SaeError(
            f"The sparsify checkpoint {folder} has {what}; only those with activation `topk` "
            "can be read."
        )
    is_transcoder = bool(raw.get("transcode"))
    read, write = _sparsify_hook_points(folder.name, is_transcoder)
    return {
        "architecture": "abstopk" if raw.get("signed") else "topk",
        "d_in": raw["d_in"],
        "d_sae": raw.get("num_latents") or raw["d_in"] * raw.get("expansion_factor", 32),
        "k": raw.get("k", 32),
        "apply_b_dec_to_input": not is_transcoder,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "transcode": is_transcoder,
        "lacks_skip": bool(raw.get("skip_connection")),
        "metadata": {"hook_name": read, "hook_name_out": write if is_transcoder else None},
    }


def _sparsify_hook_points(name: str, is_transcoder: bool) -> tuple[str | None, str | None]:
    """Where a folder's name says it reads and writes; nothing if it is no such name."""
    found = re.fullmatch(r"(?:.*\.)?(?:layers|h)[._](\d+)(?:[._](mlp))?", name)
    if found is None:
        return None, None
    block = f"blocks.{found[1]}"
    if found[2]:
        write = f"{block}.mlp.hook_out"
        return (f"{block}.mlp.hook_in" if is_transcoder else write), write
    return f"{block}.hook_resid_{'pre' if is_transcoder else 'post'}", f"{block}.hook_resid_post"
