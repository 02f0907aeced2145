"""The built wheel, installed outside the checkout, is the whole product."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ray_autointerp", source / "ray_autointerp")
    made = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(made), str(source)],
        check=True,
    )
    return next(made.glob("*.whl"))


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, before everything else on the path."""
    folder = tmp_path_factory.mktemp("outside")
    site = folder / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return folder


def run(outside: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(outside / "site"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=outside,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_carries_every_prompt_and_no_tests(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    texts = {str(p.relative_to(ROOT)) for p in (ROOT / "ray_autointerp/prompts/texts").iterdir()}
    assert texts and texts <= inside
    assert not any(name.startswith(("tests/", "jobs/")) for name in inside)
    assert not any(name.endswith("README.md") for name in inside), "pages are for the repository"


def test_installed_wheel_labels_the_planted_sae_and_shows_it(outside: Path) -> None:
    program = (
        "import pathlib, ray_autointerp.models.planted as planted\n"
        "assert 'site/ray_autointerp' in planted.__file__, planted.__file__\n"
        "planted.write_planted(pathlib.Path('planted'))"
    )
    made = run(outside, "-c", program)
    assert made.returncode == 0, made.stderr
    config = (outside / "planted/planted.toml").read_text()
    small = config.replace('rule = "all"', "num_latents = 4").replace("panel = 40", "panel = 4")
    (outside / "planted/planted.toml").write_text(small)
    command = "from ray_autointerp.cli import main; main()"
    labelled = run(outside, "-c", command, "label", "planted/planted.toml", "--local")
    assert labelled.returncode == 0, labelled.stderr
    assert "The tables lie in runs/planted" in labelled.stdout
    csv = run(outside, "-c", command, "labels", "runs/planted", "--csv")
    assert len(csv.stdout.splitlines()) == 57, "a header and every latent"


def test_installed_wheel_runs_doctor(outside: Path) -> None:
    command = "from ray_autointerp.cli import main; main()"
    done = run(outside, "-c", command, "doctor", "--root", "store", "--model", "")
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("ray_autointerp", "torch", "vllm", "store"):
        assert what in done.stdout
