"""A real vLLM engine, killed at work: no key, seed or status changes, and no published object."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killers import Killer, processes
from transformers import AutoConfig, AutoModelForCausalLM

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import FEWEST_TEXTS, Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import Runner, label
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]
MODEL = Path.home() / ".cache" / "ray_autointerp" / "SmolLM2-135M-Instruct"
REAL: dict[str, dict[str, Any]] = {
    "llm": {
        "backend": "vllm",
        "script": "",
        "dtype": "float32",
        "max_model_len": 2048,
    },
    "select": {"rule": "sample", "num_latents": 3, "panel": 3, "sample": 2},
    "describe": {"methods": ["ensemble_raw", "max_act", "keywords"], "num_examples": 2},
    "score": {
        "methods": ["ensemble_raw"],
        "num_units": 2,
        "num_unseen_trials": 1,
        "num_sentences": 1,
        "detection_texts": FEWEST_TEXTS,
        "detection_near_misses": 1,
        "fuzzing_texts": FEWEST_TEXTS,
    },
    "judge_check": {"least_allowed": 0.0},  # random weights would rather say something else
    "operations": {"threads": 2, "subject_workers": 1, "selected_per_shard": 3},
}
NARROW = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
}
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def random_llm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a real tokenizer and two layers of random weights. What it says means nothing,
    but the grammar makes descriptions and sentences of it, some of which are too long.
    """
    folder = tmp_path_factory.mktemp("llm")
    for file in MODEL.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    config = AutoConfig.from_pretrained(MODEL)
    for name, value in NARROW.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


class Watching(Killer):
    """Kills, and keeps what the store held just before each death."""

    def __init__(self, uri: Path, *plans: tuple[str, str]) -> None:
        super().__init__(*plans)
        self._uri = uri
        self.published: dict[str, str] = {}

    def started(self, task: Task) -> None:
        self.published |= objects(self._uri)
        super().started(task)


def objects(folder: Path) -> dict[str, str]:
    """Digest of every object of the run that is there now; heartbeats come and go."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.suffix in (".parquet", ".json") and "lease" not in path.parts
    }


def prompts(run: Run) -> dict[tuple[str, int], tuple[str, str]]:
    """By method and latent: the prompt's digest, from which its seed is made, and the status."""
    tables, (sae,) = Tables(run), run.saes
    latents = list(tables.selection(sae))
    return {
        (method, latent): (row["prompt_digest"], row["status"])
        for method in ("ensemble_raw", "max_act")
        for latent, row in tables.row("descriptions", sae, latents, method).items()
    }


def keys(run: Run) -> dict[str, list[object]]:
    """Of the tables that follow from descriptions: which rows there are."""
    tables, (sae,) = Tables(run), run.saes
    return {
        "sentences": tables.read("sentences", sae, "ensemble_raw", columns=["latent", "draw"]),
        "judgements": tables.read(
            "judgements", sae, "ensemble_raw", columns=["latent", "kind", "text_set"]
        ),
        "output_scores": tables.read("output_scores", sae, "ensemble_raw", columns=["latent"]),
    }


def test_killed_engine_and_killed_worker_change_no_key_seed_or_status_and_nothing_published(
    quick_config: Planted, ray_runner: Runner, random_llm: str, tmp_path: Path
) -> None:
    changes = REAL | {"llm": REAL["llm"] | {"model": random_llm}}
    undisturbed = label(quick_config(tmp_path / "undisturbed", changes), run_local, Silent())
    config = quick_config(tmp_path / "killed", changes)
    watching = Watching(
        tmp_path / "killed" / config.run.name,
        ("explain", "VLLM::EngineCore"),
        ("output_score", "ray::LLMWorker"),
    )
    run = label(config, ray_runner, watching)
    assert watching.num_killed == 2
    assert "worker died" in {receipt.outcome for receipt in watching.lost}
    found = prompts(run)
    assert found == prompts(undisturbed)
    assert {status for _, status in found.values()} >= {"ok", "truncated"}
    assert keys(run) == keys(undisturbed)
    after = objects(Path(run.uri))
    assert watching.published.items() <= after.items()
    assert processes("VLLM::") == [], "no engine outlives the run"
