"""The pages on adding a method and a scorer are true: their files and changes, and nothing else,
make a method whose labels and a score whose numbers are published.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ray_autointerp.models.planted import PlantedTruth

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from pages import EXTENSIONS, ROOT, Block, blocks_of

METHOD_PAGE, SCORER_PAGE = EXTENSIONS
MADE = [
    block
    for page in EXTENSIONS
    for block in blocks_of(page)
    if block.file is not None and block.language != "toml"
]
"""The files and changes, in the pages' order."""

LLM = '''
from dataclasses import replace

from ray_autointerp.llm.client import Answer
from ray_autointerp.llm.scripted import planted_script


def llm(request):
    """As the planted one, which knows nothing of the new evidence: quotes the first token of it."""
    shown = request.messages[-1].content
    if shown.startswith("Tokens before it: "):
        return Answer("stands after " + shown.split('"')[1].join('""'), "stop")
    return planted_script(request)
'''

LABEL = """
import json
import sys
from pathlib import Path

import ray_autointerp
from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label

path, root, describe = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
raw = read_config(path).model_dump(mode="json")
raw["run"]["root"] = root
raw["select"] = {"num_latents": 3, "panel": 3, "sample": 2, "controls": 3}
raw["describe"] |= describe
raw["score"] |= {"methods": ["preceding"], "num_units": 2, "num_draws": 1, "three_set_methods": []}
raw["steering"] |= {"num_prompts": 3, "new_tokens": 4}
raw["llm"]["script"] = "llm:llm"
raw["operations"] |= {"micro_batch": 16, "threads": 1}
run = label(parse_config(raw, path), run_local, Silent())
scores = ray_autointerp.read_run(run.uri).scores().to_pylist()
print(json.dumps([row for row in scores if row["score"] == "peak_recall"]))
"""


def changed(text: str, block: Block) -> str:
    """A text with a block's change: what its lines without `+` say must stand there once."""
    lines = [(line[:1], line[1:]) for line in block.text.splitlines()]
    old = "\n".join(line for mark, line in lines if mark != "+")
    new = "\n".join(line for mark, line in lines if mark != "-")
    assert text.count(old) == 1, f"{block.place}: not once in {block.file}:\n{old}"
    return text.replace(old, new)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with what the pages add to it."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ray_autointerp", folder / "ray_autointerp", ignore=ignored)
    for block in MADE:
        assert block.file is not None
        path = folder / block.file
        if block.language == "diff":
            path.write_text(changed(path.read_text(), block))
        else:
            assert not path.exists(), f"{block.place}: there is {block.file} already"
            path.write_text(block.text)
    (folder / "llm.py").write_text(LLM)
    return folder


def test_pages_name_every_file_that_they_touch() -> None:
    assert {Path(str(block.file)).name for block in MADE} == {
        *("preceding.py", "preceding.md", "preceding.json", "peak_recall.py"),
        *("flow.py", "evidence.py", "schemas.py", "run_scores.py"),
    }


def test_what_the_pages_add_is_well_formed(extended: Path) -> None:
    files = [str(extended / str(block.file)) for block in MADE if str(block.file).endswith(".py")]
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *config, *sorted(set(files))],
            capture_output=True,
            text=True,
            cwd=extended,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_method_and_scorer_of_the_pages_reach_the_labels(
    extended: Path, planted: PlantedTruth
) -> None:
    environment = os.environ | {"PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"}
    (config,) = (tomllib.loads(block.text) for block in blocks_of(METHOD_PAGE, "toml"))
    arguments = [str(planted.config), str(extended / "runs"), json.dumps(config["describe"])]
    done = subprocess.run(
        [sys.executable, "-c", LABEL, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=extended,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads(done.stdout.splitlines()[-1])

    (folder,) = (extended / "runs").glob("*/sae/*")
    rows = pq.ParquetFile(folder / "labels.parquet").read().to_pylist()
    labels = {row["latent"]: row for row in rows if row["chosen"] and not row["is_dead"]}
    scores = [row for row in scores if row["latent"] in labels]
    before = {
        row["latent"]: row["tokens"]
        for path in (folder / "preceding").glob("*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    }
    assert set(before) == {row["latent"] for row in rows}, "evidence is made of every latent"
    assert {row["method"] for row in labels.values()} == {"preceding"}
    assert {latent: row["label"] for latent, row in labels.items()} == {
        latent: f'stands after "{before[latent][0]}"' for latent in labels
    }
    assert {row["latent"]: row["value"] for row in scores} == {
        latent: row["peak_recall"] for latent, row in labels.items()
    }
    assert all(row["value"] == 0 for row in scores), "no planted latent peaks on what is before it"
    assert all(row["floor"] is not None for row in scores)
