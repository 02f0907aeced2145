"""`label` from Python: the run that the command would make, as something to read."""

from pathlib import Path

import pytest

import ray_autointerp
from ray_autointerp import labelling
from ray_autointerp.config import Config
from ray_autointerp.errors import UserError
from ray_autointerp.execution.tracker import Observer
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.runs.run import Run


@pytest.mark.slow
def test_finished_run_is_returned_as_it_is(quick_run: Run) -> None:
    before = sorted(Path(quick_run.uri).rglob("*"))
    run = ray_autointerp.label(quick_run.config, local=True, quiet=True)
    assert run.uri == quick_run.uri
    assert run.labels().num_rows == len(quick_run.axes.latents["planted"])
    assert sorted(Path(quick_run.uri).rglob("*")) == before


def test_path_is_read_and_the_runner_is_as_asked(
    planted: PlantedTruth, quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Config, bool, type]] = []

    def label_with(config: Config, local: bool, observer: Observer) -> Run:
        asked.append((config, local, type(observer)))
        return quick_run

    monkeypatch.setattr(labelling, "label_with", label_with)
    ray_autointerp.label(str(planted.config))
    ray_autointerp.label(planted.config, local=True, quiet=True)
    expected = ray_autointerp.read_config(planted.config)
    assert asked == [(expected, False, labelling.Progress), (expected, True, labelling.Silent)]


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read the config .*none\.toml"):
        ray_autointerp.label(tmp_path / "none.toml")
