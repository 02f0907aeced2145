"""How many SAEs of SAELens' registry can be labelled, by family of models and by what they read.

    python jobs/benchmarks/coverage.py

Nothing is downloaded: architecture and hook points are those that SAELens' loaders give an SAE of
the registry's loader, name and overrides; families and layers of the models are listed below. Each
SAE is then judged by the checks of the package itself, whose sentence is printed where it is
refused.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ray_autointerp.errors import UserError
from ray_autointerp.models.families import family_of, supported
from ray_autointerp.models.hook_point import Blocks, height
from ray_autointerp.models.sae_card import card_of_config, points

MODELS = {
    "gpt2-small": ("gpt2", 12),
    "pythia-70m-deduped": ("gpt_neox", 6),
    "mistral-7b": ("mistral", 32),
    "gemma-2b": ("gemma", 18),
    "gemma-2b-it": ("gemma", 18),
    "gemma-2-2b": ("gemma2", 26),
    "gemma-2-9b": ("gemma2", 42),
    "gemma-2-9b-it": ("gemma2", 42),
    "gemma-2-27b": ("gemma2", 46),
    "google/gemma-3-270m": ("gemma3_text", 18),
    "google/gemma-3-270m-it": ("gemma3_text", 18),
    "google/gemma-3-1b-pt": ("gemma3_text", 26),
    "google/gemma-3-1b-it": ("gemma3_text", 26),
    "google/gemma-3-4b-pt": ("gemma3_text", 34),
    "google/gemma-3-4b-it": ("gemma3_text", 34),
    "google/gemma-3-12b-pt": ("gemma3_text", 48),
    "google/gemma-3-12b-it": ("gemma3_text", 48),
    "google/gemma-3-27b-pt": ("gemma3_text", 62),
    "google/gemma-3-27b-it": ("gemma3_text", 62),
    "meta-llama/Meta-Llama-3-8B-Instruct": ("llama", 32),
    "meta-llama/Llama-3.1-8B": ("llama", 32),
    "meta-llama/Llama-3.1-8B-Instruct": ("llama", 32),
    "meta-llama/Llama-3.3-70B-Instruct": ("llama", 80),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": ("llama", 32),
    "Qwen/Qwen2.5-7B-Instruct": ("qwen2", 28),
    "qwen3-0.6b": ("qwen3", 28),
    "qwen3-1.7b": ("qwen3", 28),
    "qwen3-4b": ("qwen3", 36),
    "qwen3-8b": ("qwen3", 36),
    "qwen3-14b": ("qwen3", 40),
    "Qwen/Qwen3-1.7B-Base": ("qwen3", 28),
    "Qwen/Qwen3-8B-Base": ("qwen3", 36),
    "Qwen/Qwen3-30B-A3B-Base": ("qwen3_moe", 48),
    "Qwen/Qwen3.5-2B-Base": ("qwen3_5_text", 24),
    "Qwen/Qwen3.5-9B-Base": ("qwen3_5_text", 32),
    "Qwen/Qwen3.5-27B": ("qwen3_5_text", 64),
    "Qwen/Qwen3.5-35B-A3B-Base": ("qwen3_5_moe_text", 40),
    "openai/gpt-oss-20b": ("gpt_oss", 24),
}
"""By the registry's name: `model_type` of the text part, and the number of layers."""

SITES = {
    "hook_embed": "residual stream",
    "hook_resid_pre": "residual stream",
    "hook_resid_mid": "residual stream",
    "hook_resid_post": "residual stream",
    "hook_mlp_out": "MLP output",
    "hook_attn_out": "attention output",
    "attn.hook_z": "attention output",
}


def main() -> None:
    """Print the table and the refusals."""
    counts: defaultdict[tuple[str, str], Counter[bool]] = defaultdict(Counter)
    refusals: Counter[str] = Counter()
    for name, release in registry().items():
        for sae in release["saes"]:
            config = sae_config(name, release, sae)
            family, layers = MODELS[release["model"]]
            try:
                check(f"{name}/{sae['id']}", config, family, layers, release["model"])
            except UserError as error:
                refusals[str(error)] += 1
                is_accepted = False
            else:
                is_accepted = True
            counts[family, kind(config)][is_accepted] += 1
    print(f"| {'family':16} | {'reads':16} |   SAEs | accepted |\n| --- | --- | ---: | ---: |")
    for (family, where), found in sorted(counts.items()):
        print(f"| {family:16} | {where:16} | {found.total():6,} | {found[True]:8,} |")
    all_found = sum(counts.values(), Counter())
    share = all_found[True] / all_found.total()
    print(f"\n{all_found[True]:,} of {all_found.total():,} accepted: {share:.1%}")
    for sentence, number in refusals.most_common():
        print(f"{number}x {sentence}")


def registry() -> Mapping[str, Any]:
    """SAELens' list of releases, as it is in its package."""
    spec = find_spec("sae_lens")
    assert spec is not None and spec.origin is not None
    with (Path(spec.origin).parent / "pretrained_saes.yaml").open(encoding="utf-8") as file:
        found: Mapping[str, Any] = yaml.load(file, Loader=yaml.CSafeLoader)
    return found


def check(source: str, config: dict[str, Any], model_type: str, layers: int, model: str) -> None:
    """What a run's check refuses by an SAE's configuration. Raises UserError."""
    family = family_of(model_type)
    if family is None:
        raise UserError(f"Models of the family {model_type} cannot be resumed; {supported()} can.")
    blocks = Blocks(model, layers, family, is_parallel=family.parallel is not None)
    card = card_of_config(source, config, "")
    card.require_norm(family.norm_kind)
    write, read = points(card, None, None)
    assert write is not None and read is not None
    if height(blocks.read_place(read)) > height(blocks.write_site(write)):
        raise UserError(f"{source} reads above where it writes.")


def kind(config: Mapping[str, Any]) -> str:
    """What the SAE reads, in a word or two."""
    if "transcoder" in config["architecture"]:
        return "transcoder"
    return SITES[config["hook_name"].removeprefix(f"blocks.{layer_of(config['hook_name'])}.")]


def layer_of(name: str) -> int:
    """The first number behind a word for a layer."""
    found = re.search(r"(?:blocks\.|layers?_?|^l|L|l)(\d+)", name)
    return int(found[1]) if found else 0


def sae_config(name: str, release: Mapping[str, Any], sae: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that SAELens' loader makes, as far as it decides what can be labelled."""
    loader = release["conversion_func"]
    config = {"d_in": 1, "d_sae": 1, **_BY_LOADER[loader](name, sae["id"], str(sae["path"]))}
    overrides = dict(release.get("config_overrides") or {})
    kwargs = overrides.pop("model_from_pretrained_kwargs", {})
    scaled = config.get("normalize_activations") == "expected_average_only_in"
    if scaled and sae.get("norm_scaling_factor"):
        config["normalize_activations"] = "none"  # SAELens folds it
    return {**config, **overrides, "metadata": {"model_from_pretrained_kwargs": kwargs}}


def _lens(name: str, sae_id: str, _: str) -> dict[str, Any]:
    """SAEs in SAELens' own format; their ids are their hook points, with endings."""
    hook = re.sub(r"(_\d+|__.*)$", "", sae_id)
    is_openai = "-v5-" in name
    return {
        "architecture": "standard",
        "hook_name": hook,
        "normalize_activations": "layer_norm" if is_openai else "none",
    }


def _gemma_2(name: str, _: str, path: str) -> dict[str, Any]:
    layer = f"blocks.{layer_of(path)}"
    if "-att" in name:
        hook = f"{layer}.attn.hook_z"
    elif "-mlp" in name:
        hook = f"{layer}.hook_mlp_out"
    else:
        hook = "hook_embed" if "embedding" in path else f"{layer}.hook_resid_post"
    return {"architecture": "jumprelu", "hook_name": hook}


def _gemma_3(_: str, __: str, path: str) -> dict[str, Any]:
    layer, module = f"blocks.{layer_of(path)}", f"model.layers.{layer_of(path)}"
    if "transcoder" in path or "clt" in path:
        affine = "skip_" if "affine" in path else ""
        return {
            "architecture": f"jumprelu_{affine}transcoder",
            "hook_name": f"{layer}.hook_mlp_in",
            "hook_name_out": f"{layer}.hook_mlp_out",
            "hf_hook_name": f"{module}.pre_feedforward_layernorm.output",
        }
    where = {"attn_out": "attn.hook_z", "mlp_out": "hook_mlp_out", "resid_post": "hook_resid_post"}
    hook = next(hook for part, hook in where.items() if part in path)
    return {"architecture": "jumprelu", "hook_name": f"{layer}.{hook}"}


def _llama_scope(_: str, sae_id: str, path: str) -> dict[str, Any]:
    found = re.search(r"l(\d+)([ram])", sae_id) or re.search(r"L(\d+)([RAM])", path)
    assert found is not None, path
    where = {"r": "hook_resid_post", "a": "hook_attn_out", "m": "hook_mlp_out"}
    return {
        "architecture": "jumprelu",
        "hook_name": f"blocks.{found[1]}.{where[found[2].lower()]}",
        "normalize_activations": "expected_average_only_in",
    }


def _dictionary_learning(name: str, sae_id: str, _: str) -> dict[str, Any]:
    architecture = "gated" if "gated" in name else "topk" if "topk" in name else "standard"
    return {"architecture": architecture, "hook_name": f"blocks.{layer_of(sae_id)}.hook_resid_post"}


def _residual(architecture: str) -> Any:
    def config(_: str, sae_id: str, path: str) -> dict[str, Any]:
        layer = layer_of(sae_id) or layer_of(path.rpartition("-")[2])
        return {"architecture": architecture, "hook_name": f"blocks.{layer}.hook_resid_post"}

    return config


def _transcoder(read: str) -> Any:
    def config(_: str, sae_id: str, __: str) -> dict[str, Any]:
        layer = f"blocks.{layer_of(sae_id)}"
        return {
            "architecture": "transcoder",
            "hook_name": f"{layer}.{read}",
            "hook_name_out": f"{layer}.hook_mlp_out",
        }

    return config


_BY_LOADER = {
    None: _lens,
    "gemma_2": _gemma_2,
    "gemma_3": _gemma_3,
    "llama_scope": _llama_scope,
    "llama_scope_r1_distill": _llama_scope,
    "dictionary_learning_1": _dictionary_learning,
    "connor_rob_hook_z": lambda _, sae_id, __: {
        "architecture": "standard",
        "hook_name": f"blocks.{layer_of(sae_id)}.attn.hook_z",
        "reshape_activations": "hook_z",
    },
    "deepseek_r1": _residual("standard"),
    "goodfire": _residual("standard"),
    "qwen_scope": _residual("topk"),
    "temporal": _residual("temporal"),
    "gemma_2_transcoder": _transcoder("ln2.hook_normalized"),
    "mwhanna_transcoder": _transcoder("mlp.hook_in"),
    "mntss_clt_layer_transcoder": _transcoder("hook_resid_mid"),
}
"""By the registry's `conversion_func`; none is SAELens' own format."""


if __name__ == "__main__":
    main()
