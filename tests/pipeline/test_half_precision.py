"""The whole flow with a subject in half precision: every table is written, the truth is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.runs.tables import Tables


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
