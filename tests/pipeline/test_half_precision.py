"""The whole flow with a subject in half precision: every table is written, the truth is found."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.parquet import read_tables

SCALED, OVERFLOWING = 2, 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_trigger_and_effect_are_found_in_half_precision(
    quick_config: Callable[..., Config], planted: PlantedTruth, tmp_path: Path, dtype: str
) -> None:
    run = label(quick_config(tmp_path, {"subject": {"dtype": dtype}}), run_local, Silent())
    tables = Tables(run)
    for row in tables.read("top_examples", "planted").to_pylist():
        for example in row["examples"]:
            peak = example["texts"][example["peak"]].strip()
            assert peak == planted.triggers[row["latent"]]
    changes = tables.read("token_change", "planted", "all").to_pylist()
    assert changes
    for row in changes:
        side = "suppressed" if row["sign"] == -1 else "promoted"
        assert row[side][0]["text"].strip() == planted.effects[row["latent"]]
    reached = [row for row in tables.read("clamps", "planted").to_pylist() if row["status"] == "ok"]
    assert len(reached) > 0
    assert all(abs(row["kl_reached"] / row["kl_target"] - 1) < 0.2 for row in reached)


def test_decoder_row_beyond_float16_counts_by_what_it_adds(
    quick_config: Callable[..., Config], planted: PlantedTruth, tmp_path: Path
) -> None:
    """Scaled against its encoder it is the same latent; alone it overflows, and is never `ok`."""
    folder = Path(shutil.copytree(planted.folder / "sae", tmp_path / "sae"))
    tensors = load_file(folder / "sae_weights.safetensors")
    for latent in (SCALED, OVERFLOWING):
        tensors["W_dec"][latent] *= 2.0**20
    tensors["W_enc"][:, SCALED] *= 2.0**-20
    tensors["b_enc"][SCALED] *= 2.0**-20
    save_file(tensors, folder / "sae_weights.safetensors")
    chosen = {"rule": "list", "latents": [SCALED, OVERFLOWING, 5]}
    config = quick_config(tmp_path, {"subject": {"dtype": "float16"}, "select": chosen})
    (sae,) = config.sae
    config = config.model_copy(update={"sae": (sae.model_copy(update={"path": str(folder)}),)})
    run = label(config, run_local, Silent())
    tables = Tables(run)
    changes = tables.read("token_change", "planted", "all").to_pylist()
    assert {row["latent"] for row in changes} >= {SCALED, OVERFLOWING, 5}
    for row in changes:
        if row["latent"] == OVERFLOWING:
            assert row["status"] != "ok"
            continue
        side = "suppressed" if row["sign"] == -1 else "promoted"
        assert row[side][0]["text"].strip() == planted.effects[row["latent"]]
    names = [name for name in tables.store.list("") if name.endswith(".parquet")]
    assert all(is_finite(read_tables(tables.store, [name]).to_pylist()) for name in names)


def is_finite(value: Any) -> bool:
    """Whether no number in rows, lists and structs is NaN or infinite."""
    if isinstance(value, dict | list):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)
