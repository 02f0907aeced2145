"""Cross-layer transcoders in circuit-tracer's format, read a layer at a time.

A latent of layer n reads there and writes into what the MLP of every block from n on adds, along a
decoder row of its own for each. A folder holds config.yaml, and by layer W_enc_n.safetensors
(encoder, biases, perhaps thresholds) and W_dec_n.safetensors. SAELens sums the decoders of a layer
when it reads one from its registry; here the files are fetched and read as they are.
"""

# L d_sae, S write layers, D d_model

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from sae_lens.loading.pretrained_sae_loaders import get_safetensors_tensor_shapes
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.models.finite_weights import require_finite_file
from ray_autointerp.models.sae_checkpoint import filled
from ray_autointerp.models.sae_tensors import Shape, shapes_of, shown
from ray_autointerp.records.keys import files_digest

CONFIG = "config.yaml"
_LOADER = "mntss_clt_layer_transcoder"
"""SAELens' name for registered transcoders of this format."""

_TOGETHER = 4096
"""Latents whose decoders are widened and summed at once."""


def is_cross_layer(path: str) -> bool:
    """Whether a folder holds a cross-layer transcoder, or a part of one."""
    folder = Path(path)
    return bool(_layers(folder)) or (
        (folder / CONFIG).is_file() and not (folder / "cfg.json").is_file()
    )


def not_needed(layer: int | None) -> re.Pattern[str]:
    """Names of a folder's files that a layer does without; of no layer, all decoders."""
    if layer is None:
        return re.compile(r"W_dec_\d+\.safetensors")
    return re.compile(rf"W_(enc|dec)_(?!{layer}\.)\d+\.safetensors")


@dataclass(frozen=True)
class RegisteredLayer:
    """A layer of a cross-layer transcoder in SAELens' registry, before it is fetched."""

    repository: str
    layer: int

    @classmethod
    def named(cls, release: str | None, sae_id: str | None) -> "RegisteredLayer | None":
        """None where the registry's SAE is of another kind."""
        known = get_pretrained_saes_directory().get(str(release))
        if known is None or known.conversion_func != _LOADER or sae_id not in known.saes_map:
            return None
        return cls(known.repo_id, int(known.saes_map[sae_id]))

    def config(self) -> dict[str, Any]:
        """The layer's configuration; of the weights their shapes and size alone are fetched."""
        shapes = {
            name: tuple(shape)
            for file in layer_files(self.layer)
            for name, shape in get_safetensors_tensor_shapes(self.repository, file).items()
        }
        config_file = Path(hf_hub_download(self.repository, CONFIG))
        config = _config(self.repository, self.layer, config_file, shapes)
        decoders = get_hf_file_metadata(hf_hub_url(self.repository, layer_files(self.layer)[1]))
        return {**config, "decoder_bytes": decoders.size or 0}

    def fetched(self) -> "CrossLayerCheckpoint":
        """The layer's files on this machine. Raises SaeError, or what the hub's client raises."""
        found = [
            hf_hub_download(self.repository, file) for file in (CONFIG, *layer_files(self.layer))
        ]
        return CrossLayerCheckpoint.read(str(Path(found[0]).parent), self.layer)


@dataclass(frozen=True)
class CrossLayerCheckpoint:
    """One layer of a folder, its configuration in SAELens' words; weights are not read yet."""

    folder: Path
    layer: int
    config: dict[str, Any]

    @classmethod
    def read(cls, path: str, layer: int | None) -> "CrossLayerCheckpoint":
        """Look at a folder. Raises SaeError with one sentence."""
        folder = Path(path)
        has = f"it has {', '.join(map(str, _layers(folder)))}"
        if layer is None:
            raise SaeError(
                f"{path} is a cross-layer transcoder: set `layer` in its [[sae]] to the layer "
                f"whose latents are meant; {has}."
            )
        if layer not in _layers(folder):
            raise SaeError(f"The cross-layer transcoder {path} has no layer {layer}; {has}.")
        for file in (CONFIG, *layer_files(layer)):
            if not (folder / file).is_file():
                raise SaeError(
                    f"The cross-layer transcoder {path} has no {file}: take a whole copy of it."
                )
        shapes: dict[str, Shape] = {}
        try:
            for file in layer_files(layer):
                shapes |= shapes_of(folder / file)
        except (OSError, SafetensorError) as error:
            raise SaeError(
                f"The cross-layer transcoder in {path} cannot be read: {error}."
            ) from error
        config = _config(path, layer, folder / CONFIG, shapes)
        decoder_bytes = (folder / layer_files(layer)[1]).stat().st_size
        return cls(folder, layer, {**config, "decoder_bytes": decoder_bytes})

    @property
    def source(self) -> str:
        """What it is called in messages."""
        return f"{self.folder}, layer {self.layer}"

    def digest(self) -> str:
        """sha256 over the layer, configuration and weights, decoders by layer included."""
        files = (self.folder / file for file in (CONFIG, *layer_files(self.layer)))
        return files_digest(files, first=f"layer {self.layer}")

    def require_finite(self) -> None:
        """Raises SaeError at weights that are not finite; reads the files in chunks."""
        for file in layer_files(self.layer):
            require_finite_file(self.source, self.folder / file)

    def decoders(self, device: torch.device | str) -> Tensor:
        """Decoder rows by write layer [L, S, D], in the file's dtype: of a large one in float32
        layer 0 would take 20 GB.
        """
        return self._tensor("W_dec", device)

    def load(self, decoders_LSD: Tensor, dtype: str) -> Any:
        """SAELens' inference object, with the sum of the decoders as its decoder."""
        device, wide = decoders_LSD.device, getattr(torch, dtype)
        parts = [rows.to(wide).sum(dim=1) for rows in decoders_LSD.split(_TOGETHER)]
        names = ["b_enc", "b_dec"]
        if self.config["architecture"] == "jumprelu_transcoder":
            names.append("threshold")
        tensors = {name: self._tensor(name, device) for name in names}
        tensors["W_enc"] = self._tensor("W_enc", device).T.contiguous()
        return filled(self.config, tensors | {"W_dec": torch.cat(parts)}, str(device), dtype)

    def _tensor(self, name: str, device: torch.device | str) -> Tensor:
        encoder, decoder = layer_files(self.layer)
        file = self.folder / (decoder if name == "W_dec" else encoder)
        with safe_open(file, "pt", device=str(device)) as tensors:
            found: Tensor = tensors.get_tensor(f"{name}_{self.layer}")
        return found


def layer_files(layer: int) -> tuple[str, str]:
    """Encoder and decoders of a layer."""
    return f"W_enc_{layer}.safetensors", f"W_dec_{layer}.safetensors"


def _layers(folder: Path) -> list[int]:
    """Layers of which there are encoders."""
    names = (
        re.fullmatch(r"W_enc_(\d+)\.safetensors", path.name) for path in folder.glob("W_enc_*")
    )
    return sorted(int(name[1]) for name in names if name)


def _config(
    source: str, layer: int, config_file: Path, shapes: Mapping[str, Shape]
) -> dict[str, Any]:
    """By config.yaml and the tensors' shapes."""
    hooks = _hooks(config_file)
    said = f"Layer {layer} of the cross-layer transcoder {source}"
    names = [f"{name}_{layer}" for name in ("W_enc", "b_enc", "b_dec", "W_dec")]
    absent = [name for name in names if name not in shapes]
    if absent:
        raise SaeError(f"{said} has no {' and '.join(absent)}: take a whole copy of it.")
    encoder, decoder = shapes[names[0]], shapes[names[3]]
    if len(encoder) != 2 or len(decoder) != 3 or 0 in decoder:
        raise SaeError(
            f"{said} has an encoder of {shown(encoder)} and a decoder of {shown(decoder)}, not of "
            "d_sae x d_model and d_sae x write layers x d_model: take another copy of it."
        )
    d_sae, num_writes, d_out = decoder
    has_threshold = f"threshold_{layer}" in shapes
    wanted = dict(zip(names, ((d_sae, encoder[1]), (d_sae,), (d_out,), decoder), strict=True))
    for name, shape in (wanted | {f"threshold_{layer}": (d_sae,)}).items():
        if shapes.get(name, shape) != shape:
            raise SaeError(
                f"{said} has {name} of {shown(shapes[name])}, which does not fit W_dec_{layer} of "
                f"{shown(decoder)}: take another copy of it."
            )
    if encoder[1] != d_out:
        raise SaeError(
            f"{said} reads vectors of {encoder[1]} and writes vectors of {d_out}, and a "
            "transcoder's d_model is one: take another copy of it."
        )
    return {
        "architecture": "jumprelu_transcoder" if has_threshold else "transcoder",
        "d_in": encoder[1],
        "d_out": d_out,
        "d_sae": d_sae,
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "is_cross_layer": True,
        "later_points": [
            f"blocks.{layer + above}.{hooks.output}" for above in range(1, num_writes)
        ],
        "metadata": {
            "hook_name": f"blocks.{layer}.{hooks.input}",
            "hook_name_out": f"blocks.{layer}.{hooks.output}",
        },
    }


@dataclass(frozen=True)
class _Hooks:
    """Hook points within each block."""

    input: str
    output: str


def _hooks(config_file: Path) -> _Hooks:
    fields = ("feature_input_hook", "feature_output_hook")
    try:
        raw = yaml.safe_load(config_file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = " ".join(str(error).split())
        raise SaeError(f"{config_file} cannot be read: {message}.") from error
    if not isinstance(raw, dict) or not all(isinstance(raw.get(field), str) for field in fields):
        raise SaeError(
            f"{config_file} is no cross-layer transcoder's configuration: it needs "
            f"{' and '.join(fields)}."
        )
    hooks = _Hooks(*(raw[field] for field in fields))
    if hooks.output not in ("hook_mlp_out", "mlp.hook_out"):
        raise SaeError(
            f"{config_file} says that latents write to `{hooks.output}`; only cross-layer "
            "transcoders that write to hook_mlp_out can be clamped."
        )
    return hooks
