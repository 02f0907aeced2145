"""Pools that size themselves, in a run on logical GPUs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.config import Config

SCRIPT = Path(__file__).parents[1] / "scripts" / "moving_gpus.py"
FEW = {
    "describe": {"methods": ["max_act", "vocab_proj", "keywords"]},
    "score": {"methods": ["max_act", "keywords"], "num_units": 0, "three_set_methods": []},
    "llm": {"script": "slow_answers:slow", "requests_in_flight": 1},
    "operations": {
        "selected_per_shard": 1,
        "latents_per_shard": 8,
        "subject_workers": "auto",
        "llm_workers": "auto",
        "subject_gpus": 1,
        "llm_gpus": 1,
    },
}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_gpus_move_to_the_llm_when_the_subjects_work_is_over(
    quick_config: Callable[..., Config], tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(quick_config(tmp_path / "runs", FEW).model_dump_json())
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(file)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    seen, used = json.loads(ran.stdout.splitlines()[-1])
    checks = 3  # of the judge, one for each kind of question
    begun = [look["members"] for look in seen if look["left"]["llm"] <= checks]
    assert max(members["subject"][0] for members in begun) > 1, "the LLM had next to nothing to do"
    over = [look["members"] for look in seen if look["left"]["subject"] == 0]
    assert max(members["llm"][0] for members in over) == 3, "all but the one that must stay"
    for look in seen:
        taken = sum(sum(look["members"][name][:2]) for name in ("subject", "llm"))
        assert taken <= 4, "no more than there are"
    assert {use["pool"] for use in used} == {"cpu", "subject", "llm"}
    for use in used:
        largest = max(sum(look["members"][use["pool"]][:2]) for look in seen)
        assert 0 < use["num_workers"] <= largest
        assert 0 < use["busy_seconds"] <= use["worker_seconds"]
