"""A planted transcoder beside the planted SAE: it reads in a block, writes behind it, one run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.preflight.check import check
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

READ, WRITE = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def transcoder(planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted directions; the normalised state it reads is four times as long."""
    folder = tmp_path_factory.mktemp("transcoder")
    tensors = load_file(planted.folder / "sae" / "sae_weights.safetensors")
    tensors["b_enc"] = torch.full_like(tensors["b_enc"], -5.0)
    save_file(tensors, folder / "sae_weights.safetensors")
    config = json.loads((planted.folder / "sae" / "cfg.json").read_text())
    config |= {"architecture": "transcoder", "d_out": config["d_in"]}
    config["metadata"] |= {"hook_name": READ, "hook_name_out": WRITE}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def with_both(config: Config, transcoder: Path, **changes: str) -> Config:
    (planted,) = config.sae
    second = planted.model_copy(update={"id": "transcoder", "path": str(transcoder), **changes})
    return config.model_copy(update={"sae": (planted, second)})


@pytest.fixture(scope="module")
def both(
    quick_config: Callable[..., Config],
    transcoder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    config = quick_config(tmp_path_factory.mktemp("both"), {"operations": {"micro_batch": 0}})
    return label(with_both(config, transcoder), run_local, Silent())


@pytest.mark.parametrize("sae", ["planted", "transcoder"])
def test_trigger_and_effect_of_every_latent_are_found(
    both: Run, planted: PlantedTruth, sae: str
) -> None:
    tables = Tables(both)
    for row in tables.read("top_examples", sae).to_pylist():
        fired = {
            text.strip()
            for example in row["examples"]
            for text, activation in zip(example["texts"], example["activations"], strict=True)
            if activation > 0
        }
        assert fired == ({planted.triggers[row["latent"]]} if row["examples"] else set())
    for row in tables.read("token_change", sae, "all").to_pylist():
        side = "suppressed" if row["sign"] == -1 else "promoted"
        assert row[side][0]["text"].strip() == planted.effects[row["latent"]]
    for row in tables.read("input_scores", sae, "ensemble_raw").to_pylist():
        assert row["status"] != "ok" or row["auroc"] == 1


def test_manifest_says_where_each_reads_and_writes(both: Run) -> None:
    places = {section.id: (section.read_point, section.hook_point) for section in both.config.sae}
    assert places["transcoder"] == (READ, WRITE)
    assert len(set(places["planted"])) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"read_point": "blocks.2.mlp.hook_in"}, "reads at blocks.2.mlp.hook_in, above"),
        ({"read_point": "blocks.2.hook_resid_post"}, "above blocks.1.hook_mlp_out"),
    ],
)
def test_reading_above_the_writing_is_refused(
    quick_config: Callable[..., Config],
    transcoder: Path,
    tmp_path: Path,
    changes: dict[str, str],
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=said):
        check(with_both(quick_config(tmp_path), transcoder, **changes))
