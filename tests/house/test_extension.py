"""A new scorer or kind of evidence touches its own files, the declaration and the schema."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ray_autointerp.models.planted import PlantedTruth

ROOT = Path(__file__).parents[2]

NEW = {
    "stages/toy_lists.py": '''"""toy_lists: evidence of its own."""


def run(task, context):
    """Write one latent shard of `toy_lists`."""
    rows = [{"latent": i, "status": "ok", "word": f"toy{i}"} for i in context.tables.latents(task)]
    context.write(task, "toy_lists", rows)
''',
    "prompts/toy.py": '''"""Toy: one word to a prompt."""


def shown_of(rows, shown):
    """The word."""
    return next((f'Promoted tokens: "{row["word"]}"' for row in rows.get("toy_lists", ())), None)
''',
    "stages/toy_score.py": '''"""toy_score: how long a description is."""


def run(task, context):
    """Write one selection shard of `toy_scores/<method>`."""
    latents = context.tables.chosen(task)
    rows = context.tables.row("descriptions", task.sae, latents, task.method)
    context.write(
        task,
        "toy_scores",
        [
            {"latent": i, "status": "ok", "length": float(len(rows[i]["description"] or ""))}
            for i in latents
        ],
    )
''',
}
EDITS = (
    (
        "plan/flow.py",
        "_BEFORE_PUBLISH: tuple[Step, ...] = (",
        """_BEFORE_PUBLISH: tuple[Step, ...] = (
    Step("toy_lists", (), ("toy_lists",), "sae", "latents", "cpu"),
    Step(
        "toy_score",
        _reads("selection", "descriptions"),
        ("toy_scores",),
        "sae",
        "selection",
        "cpu",
        methods="scored",
        label_columns=_columns("toy_", "length"),
    ),""",
    ),
    (
        "plan/evidence.py",
        "EXPLAINERS: dict[str, Explainer] = {",
        """from ray_autointerp.prompts import toy

EXPLAINERS: dict[str, Explainer] = {
    "toy": Explainer(toy.shown_of, ("toy_lists",), text="vocab_proj"),""",
    ),
    (
        "records/schemas.py",
        "_LABELS = _table(\n    _LATENT,",
        "_LABELS = _table(\n    _LATENT,\n    toy_length=_F32,",
    ),
    (
        "records/schemas.py",
        '    "labels": _LABELS,',
        """    "toy_lists": _table(_LATENT, status=_STR, word=_STR),
    "toy_scores": _table(_LATENT, status=_STR, length=_F32),
    "labels": _LABELS,""",
    ),
)
"""The only files of the package that change: the steps, the explainers, the schemas."""

LABEL = """
import sys
from pathlib import Path

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label

path, root = Path(sys.argv[1]), sys.argv[2]
raw = read_config(path).model_dump(mode="json")
raw["run"]["root"] = root
raw["select"] = {"rule": "sample", "num_latents": 3, "panel": 3, "sample": 2}
raw["describe"]["methods"] = ["toy", "keywords"]
raw["score"] |= {"methods": ["toy"], "num_units": 2, "num_draws": 1, "three_set_methods": []}
raw["steering"] |= {"num_prompts": 3, "new_tokens": 4}
raw["operations"] |= {"micro_batch": 16, "threads": 1}
label(parse_config(raw, path), run_local, Silent())
"""


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A copy of the package with the toys."""
    package = tmp_path / "ray_autointerp"
    shutil.copytree(ROOT / "ray_autointerp", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in NEW.items():
        (package / name).write_text(text)
    for name, old, new in EDITS:
        text = (package / name).read_text()
        assert text.count(old) == 1, name
        (package / name).write_text(text.replace(old, new))
    return tmp_path


@pytest.mark.slow
def test_toy_scorer_and_toy_evidence_reach_the_labels(
    extended: Path, planted: PlantedTruth
) -> None:
    environment = os.environ | {"PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LABEL, str(planted.config), str(extended / "runs")],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=extended,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (extended / "runs").glob("*/sae/*/labels.parquet")
    rows = [row for row in pq.ParquetFile(path).read().to_pylist() if row["chosen"]]
    assert {row["method"] for row in rows} == {"toy"}
    assert all("toy" in row["label"] for row in rows)
    assert all(row["toy_length"] == len(row["label"]) for row in rows)
