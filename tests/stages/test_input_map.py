"""input_map on the planted model, where each latent fires on a word of its own."""

from collections.abc import Callable
from pathlib import Path

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


def test_every_latents_own_word_is_the_first_that_it_reads(
    quick_run: Run, planted: PlantedTruth
) -> None:
    """Of dead latents too, whose words no text holds."""
    found = Tables(quick_run).read("vocab_proj", "planted").to_pylist()
    assert any(not planted.is_alive(row["latent"]) for row in found)
    for row in found:
        assert row["reads"][0]["text"].strip() == planted.triggers[row["latent"]]


def test_table_has_a_row_for_each_number_that_is_read(quick_run: Run) -> None:
    point = quick_run.axes.read_points["planted"]
    table = Tables(quick_run).read("input_map", point)
    width = quick_run.axes.d_model
    assert table["direction"].to_pylist() == list(range(width))
    assert {len(row) for row in table["row"].to_pylist()} == {width}
    (unexplained,) = set(table["unexplained"].to_pylist())
    assert 0 < unexplained < 1


def test_shape_of_the_batches_decides_next_to_nothing(
    quick_run: Run, quick_config: Callable[..., Config], tmp_path: Path
) -> None:
    other = label(quick_config(tmp_path, {"operations": {"micro_batch": 5}}), run_local, Silent())
    point = quick_run.axes.read_points["planted"]
    found, again = (
        Tables(run).read("input_map", point)["row"].to_pylist() for run in (quick_run, other)
    )
    worst = max(
        abs(a - b)
        for ours, theirs in zip(found, again, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )
    assert worst < 1e-3
