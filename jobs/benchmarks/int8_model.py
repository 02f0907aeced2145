"""A model in 8-bit integers, for LLMs on a CPU: `python int8_model.py FOLDER` writes FOLDER-int8.

Weights of attention and MLP are rounded per output channel; vLLM rounds their inputs per token
(W8A8, the format of compressed-tensors). Needs no calibration data.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_NUMBERS: dict[str, Any] = {"num_bits": 8, "type": "int", "symmetric": True}
_QUANTIZATION: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": _NUMBERS | {"strategy": "channel", "dynamic": False},
            "input_activations": _NUMBERS | {"strategy": "token", "dynamic": True},
        }
    },
}
_SIDE_FILES = (".json", ".txt", ".jinja")


def main(source: Path) -> Path:
    """Write the model's folder beside it; the folder."""
    target = source.with_name(f"{source.name}-int8")
    target.mkdir(exist_ok=True)
    tensors = {}
    for file in sorted(source.glob("*.safetensors")):
        for name, weight in load_file(file).items():
            if name.endswith("_proj.weight"):
                tensors[name], tensors[f"{name}_scale"] = _rounded(weight)
            else:
                tensors[name] = weight
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    for file in source.iterdir():
        if file.suffix in _SIDE_FILES and not file.name.endswith(".index.json"):
            shutil.copy(file, target)
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = _QUANTIZATION
    (target / "config.json").write_text(json.dumps(config, indent=1))
    return target


def _rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers of -127 to 127, and the bfloat16 scale of each row (rows x 1)."""
    scale = (weight.float().abs().amax(1, keepdim=True) / 127).bfloat16()
    scale = scale.clamp_min(torch.finfo(torch.bfloat16).tiny)
    return torch.round(weight.float() / scale).clamp(-127, 127).to(torch.int8), scale


if __name__ == "__main__":
    print(main(Path(sys.argv[1]).expanduser()))
