"""Does the measure of `sae_fit` tell SAEs that are read rightly from those that are not?

    .venv/bin/python jobs/benchmarks/sae_fit.py jobs/demo/demo.toml WORK \
        --earlier jobs/demo/sae_earlier

One trained TopK SAE is written again in the forms that people have (other architectures, dtypes,
formats, scales), and wrongly: other layers, kinds of hook point, subjects, scales, weights. Each is
measured as a run does first. Prints a Markdown table and a JSON line an SAE. Not a race.
"""

import argparse
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.subject import Subject
from ray_autointerp.passes.documents import read_documents
from ray_autointerp.plan.fit_verdict import fit_verdict
from ray_autointerp.preflight.check import check
from ray_autointerp.preflight.sae_fit import sae_fits

Tensors = dict[str, Tensor]

NOISE = 0.5
"""Of the perturbed subject: standard deviations of each weight matrix."""


@dataclass(frozen=True)
class Reading:
    """One way to read the SAE."""

    name: str
    is_right: bool
    tensors: Tensors
    config: dict[str, Any]
    files: dict[str, Any] = field(default_factory=dict)
    """JSON files beside it."""
    hook_point: str | None = None
    subject: str = "as it is"
    is_sparsify: bool = False


def main() -> None:
    """Write every reading, measure it, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path, help="with one SAE, TopK, in a folder")
    parser.add_argument("work", type=Path)
    parser.add_argument("--sae", type=Path, help="in place of the config's")
    parser.add_argument("--earlier", type=Path, help="an earlier checkpoint of it")
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--only", default="", help="a regular expression: `name, subject`")
    asked = parser.parse_args()
    logging.getLogger("ray_autointerp").setLevel(logging.ERROR)
    config = read_config(asked.config)
    folder = asked.sae or Path(str(config.sae[0].path))
    subjects = {"as it is": config.subject.model, "in bfloat16": config.subject.model}
    subjects |= other_subjects(config.subject.model, asked.work)
    readings = [
        reading
        for reading in all_readings(config, folder, asked.earlier)
        if re.search(asked.only, f"{reading.name}, {reading.subject}")
    ]
    print("| SAE | subject | L0 | expected | unexplained | a layer off | verdict | right? |")
    print("| --- | --- | ---: | ---: | ---: | --- | --- | --- |")
    found = []
    for name, model in subjects.items():
        together = [reading for reading in readings if reading.subject == name]
        if not together:
            continue
        of_subject = asked.work / name.replace(" ", "-")
        written = configured(config, model, name, together, of_subject, asked.tokens)
        for reading, row in zip(together, measured(written), strict=True):
            print(line(reading, row), flush=True)
            found.append(
                row | {"reading": reading.name, "subject": name, "right": reading.is_right}
            )
    for row in found:
        print(json.dumps(row))
    for kind, is_right in (("right", True), ("wrong", False)):
        outcomes = [row["verdict"] for row in found if row["right"] == is_right]
        print(f"{kind}: {', '.join(f'{outcomes.count(o)} {o}' for o in sorted(set(outcomes)))}")


def all_readings(config: Config, folder: Path, earlier: Path | None) -> Iterator[Reading]:
    """The right ones, then the wrong ones."""
    weights = {n: t.float() for n, t in load_file(folder / "sae_weights.safetensors").items()}
    told = json.loads((folder / "cfg.json").read_text()) | {"dtype": "float32"}
    place = told["metadata"]["hook_name"]
    states_ND = states(config, place)
    scale = states_ND.shape[1] ** 0.5 / float(states_ND.norm(dim=-1).mean())
    yield from right(weights, told, scale, threshold(weights, states_ND, told["k"]))
    if earlier is not None:
        tensors = load_file(earlier / "sae_weights.safetensors")
        yield Reading("an earlier checkpoint", True, tensors, told)
    yield Reading("as stored", True, weights, told, subject="in bfloat16")
    yield from wrong(weights, told, scale)


def right(weights: Tensors, told: dict[str, Any], scale: float, least: float) -> Iterator[Reading]:
    """Forms of one SAE that mean the same, or nearly."""
    w = weights
    yield Reading("as stored", True, w, told)
    yield Reading("stored in bfloat16", True, {n: t.bfloat16() for n, t in w.items()}, told)
    metadata = told["metadata"] | {"l0": told["k"]}
    jumprelu = without_k(told, "jumprelu") | {"metadata": metadata}
    thresholds = {"threshold": torch.full_like(w["b_enc"], least)}
    yield Reading("JumpReLU, one threshold (BatchTopK)", True, w | thresholds, jumprelu)
    folded = w | {"b_enc": w["b_enc"] - w["b_dec"] @ w["W_enc"]}
    options = {"apply_b_dec_to_input": False}
    yield Reading("`apply_b_dec_to_input` folded", True, folded, told | options)
    stretch_L = torch.rand(len(w["b_enc"]), generator=torch.Generator().manual_seed(0)) + 0.5
    stretched = {
        "W_dec": w["W_dec"] * stretch_L[:, None],
        "W_enc": w["W_enc"] / stretch_L,
        "b_enc": w["b_enc"] / stretch_L,
    }
    options = {"rescale_acts_by_decoder_norm": True}
    yield Reading("decoder rows of other lengths, rescaled", True, w | stretched, told | options)
    files = {"activation_scaler.json": {"scaling_factor": scale}}
    unfolded = told | {"normalize_activations": "expected_average_only_in"}
    yield Reading("scaled activations, scale beside it", True, rescaled(w, scale), unfolded, files)
    sparsify = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "W_dec": w["W_dec"],
        "b_dec": w["b_dec"],
    }
    options = {"d_in": told["d_in"], "num_latents": told["d_sae"], "k": told["k"]}
    place = told["metadata"]["hook_name"]
    yield Reading("sparsify's format", True, sparsify, options, hook_point=place, is_sparsify=True)


def wrong(weights: Tensors, told: dict[str, Any], scale: float) -> Iterator[Reading]:
    """What goes wrong: cfg.json, the hook point, the subject, the weights."""
    w, place = weights, told["metadata"]["hook_name"]
    layer = int(re.findall(r"\d+", place)[0])
    yield Reading("TopK read as ReLU", False, w, without_k(told, "standard"))
    for near in (layer - 1, layer + 1):
        yield Reading(f"layer {near} for {layer}", False, w, told, hook_point=at(place, near))
    for far in (layer // 2, layer // 4):
        yield Reading(f"layer {far} for {layer}", False, w, told, hook_point=at(place, far))
    mlp = f"blocks.{layer}.hook_mlp_out"
    yield Reading("`hook_mlp_out` for the residual stream", False, w, told, hook_point=mlp)
    yield Reading("scaled activations, scale left out", False, rescaled(w, scale), told)
    files = {"activation_scaler.json": {"scaling_factor": scale}}
    unfolded = told | {"normalize_activations": "expected_average_only_in"}
    yield Reading("raw activations, read as scaled", False, w, unfolded, files)
    for factor in (0.1, 10.0):
        name = f"activations times {factor:g}"
        yield Reading(name, False, rescaled(w, 1 / factor), told)
    draws = torch.Generator().manual_seed(0)
    order = torch.randperm(len(w["b_enc"]), generator=draws)
    yield Reading("decoder rows shuffled", False, w | {"W_dec": w["W_dec"][order]}, told)
    yield Reading("random weights", False, {n: drawn(t, draws) for n, t in w.items()}, told)
    for subject in ("perturbed", "random weights"):
        yield Reading("as stored", False, w, told, subject=subject)


def rescaled(weights: Tensors, scale: float) -> Tensors:
    """Of an SAE that expects activations times `scale`."""
    factors = {"W_enc": 1 / scale, "W_dec": scale, "b_dec": scale}
    return {name: tensor * factors.get(name, 1.0) for name, tensor in weights.items()}


def without_k(told: dict[str, Any], architecture: str) -> dict[str, Any]:
    """cfg.json with another architecture."""
    dropped = ("k", "rescale_acts_by_decoder_norm")
    return {n: v for n, v in told.items() if n not in dropped} | {"architecture": architecture}


def at(place: str, layer: int) -> str:
    """The same kind of hook point in another block; at the bottom what goes into the first."""
    if layer < 0:
        return "blocks.0.hook_resid_pre"
    return re.sub(r"\d+", str(layer), place, count=1)


def drawn(tensor: Tensor, draws: torch.Generator) -> Tensor:
    """Normal numbers of its spread."""
    return tensor.std().nan_to_num() * torch.randn(tensor.shape, generator=draws)


def states(config: Config, place: str, num_tokens: int = 2000) -> Tensor:
    """What the SAE reads on some text, for a scale and a threshold."""
    subject = Subject.load(config.subject.model, device="cpu")
    site, ids = subject.site(place), []
    for document in read_documents(config.corpus):
        ids += subject.tokenizer.encode(document.text or "")
        if len(ids) >= num_tokens:
            break
    length = min(128, subject.card.context_length, len(ids))
    num_windows = min(len(ids), num_tokens) // length
    ids_WT = torch.tensor(ids[: num_windows * length]).reshape(-1, length)
    h_WTD = subject.residual(ids_WT, site)
    return h_WTD[position_mask(subject, ids_WT, h_WTD, site)]


def threshold(weights: Tensors, states_ND: Tensor, k: int) -> float:
    """Above which as many pre-activations lie as k at each position, on average."""
    before_NL = (states_ND - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    return float(before_NL.flatten().topk(k * len(states_ND)).values[-1].clamp_min(0))


def other_subjects(model: str, work: Path) -> dict[str, str]:
    """Folders of the subject with noise on its weights, and with random ones."""

    def perturb(weight: Tensor) -> Tensor:
        return weight + NOISE * weight.std() * torch.randn_like(weight)

    def draw(weight: Tensor) -> Tensor:
        return weight.std() * torch.randn_like(weight)

    kinds: dict[str, Callable[[Tensor], Tensor]] = {"perturbed": perturb, "random weights": draw}
    folders = {}
    for name, change in kinds.items():
        folder = Path(shutil.copytree(model, work / "subjects" / name, dirs_exist_ok=True))
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in loaded.parameters():
                if parameter.ndim > 1:
                    parameter.copy_(change(parameter))
        loaded.save_pretrained(folder)
        folders[name] = str(folder)
    return folders


def configured(
    config: Config, model: str, subject: str, readings: list[Reading], work: Path, tokens: int
) -> Config:
    """A config that names these SAEs, which are written."""
    sections = [written(reading, work / str(n), n) for n, reading in enumerate(readings)]
    raw = config.model_dump(mode="json")
    raw["run"] |= {"name": "fit", "root": str(work / "runs")}
    dtype = "bfloat16" if subject == "in bfloat16" else config.subject.dtype
    raw["subject"] |= {"model": model, "dtype": dtype}
    raw["sae"] = sections
    raw["sae_fit"] = {"num_tokens": tokens}
    raw["corpus"]["tokens_per_shard"] = max(tokens, raw["corpus"]["tokens_per_shard"])
    raw["llm"] = {"backend": "scripted", "script": "ray_autointerp.llm.scripted:ScriptedLLM"}
    raw["operations"]["micro_batch"] = 32
    return parse_config(raw, work / "config.toml")


def written(reading: Reading, folder: Path, number: int) -> dict[str, Any]:
    """Its section in a config."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "sae.safetensors" if reading.is_sparsify else "sae_weights.safetensors"
    save_file({n: t.contiguous() for n, t in reading.tensors.items()}, folder / name)
    for file, content in {"cfg.json": reading.config, **reading.files}.items():
        (folder / file).write_text(json.dumps(content))
    return {"id": f"s{number}", "path": str(folder), "hook_point": reading.hook_point}


def measured(config: Config) -> Iterator[dict[str, Any]]:
    """Rows of `sae_fit` with their verdicts."""
    checked = check(config)
    for fit in sae_fits(checked):
        verdict = fit_verdict(fit.row, config.sae_fit, fit.elsewhere)
        yield fit.row | {
            "elsewhere": fit.elsewhere,
            "verdict": verdict.outcome,
            "sentences": verdict.sentences,
        }


def line(reading: Reading, row: dict[str, Any]) -> str:
    """Of the Markdown table."""
    expected = "" if row["expected_l0"] is None else f"{row['expected_l0']:.0f}"
    share, right_or_wrong = row["unexplained"], "right" if reading.is_right else "wrong"
    cells = (
        reading.name,
        reading.subject,
        f"{row['l0']:.1f}",
        expected,
        "" if share is None else f"{share:.3g}",
        ", ".join(f"{other:.3g}" for other in row["elsewhere"].values()),
        row["verdict"],
        right_or_wrong,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
