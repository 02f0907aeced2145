"""The environment of the workers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.cluster.workers import environment
from ray_autointerp.config import Config
from ray_autointerp.plan.shards import Axes
from ray_autointerp.runs.run import Run


@pytest.mark.parametrize("take_turns", [False, True])
def test_threads_that_wait_sleep_soon_unless_subject_and_engine_take_turns(
    planted_config: Callable[..., Config], tmp_path: Path, take_turns: bool
) -> None:
    config = planted_config(tmp_path, {"operations": {"threads": 3, "take_turns": take_turns}})
    variables = environment(Run(config, Axes(1, {}, 1, 1, {}, 4, 4), "unused"))["env_vars"]
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "3"
    assert ("GOMP_SPINCOUNT" in variables) is not take_turns
