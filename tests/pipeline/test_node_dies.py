"""A node of the cluster dies in the middle of a run, with whatever worked on it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.config import Config
from ray_autointerp.runs.run import Run

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_run_whose_node_dies_ends_with_the_same_tables(
    quick_run: Run,
    quick_config: Callable[..., Config],
    tmp_path: Path,
    contents: Callable[[str], dict[str, str]],
) -> None:
    config = quick_config(tmp_path, {"operations": {"subject_workers": 2}})
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "lose_a_node.py"), str(path)],
        env=os.environ | {"RAY_health_check_period_ms": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["num_nodes"] == 3 and seen["num_alive"] == 2
    assert seen["lost"], "an attempt was under way on the node"
    assert contents(f"{tmp_path}/{config.run.name}") == contents(quick_run.uri)
