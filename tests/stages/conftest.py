"""Runs that several stages are tested on."""

from collections.abc import Callable

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run


@pytest.fixture(scope="session")
def written_run(
    quick_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A quick run whose neutral sentences are the writer's."""
    changed = {"score": {"neutral_sentences": "written"}}
    return label(quick_config(tmp_path_factory.mktemp("written"), changed), run_local, Silent())
