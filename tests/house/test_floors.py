"""The house's floors: who imports whom, read from the source, and floors without their libraries.

pyproject.toml's import contracts say the same to import-linter; this needs the standard library
alone, and also sees imports inside functions.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ray_autointerp.runs.run import Run

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ray_autointerp"

FLOORS = (
    {"errors"},
    {"config", "records"},
    {"methods", "prompts"},
    {"plan"},
    {"models", "llm", "storage"},
    {"config_file"},
    {"runs"},
    {"passes"},
    {"stages"},
    {"preflight", "execution"},
    {"pipeline", "reports"},
    {"cluster", "viewer"},
    {"labelling", "terminal"},
    {"cli"},
)
"""From the bottom. A floor may import from itself and from below, never from its siblings."""

ONLY_IN = {
    "ray": {"cluster"},
    "vllm": {"llm"},
    "transformer_lens": {"models"},
    "sae_lens": {"models"},
    "boto3": {"storage"},
    "botocore": {"storage"},
}
WITHOUT_TORCH = {
    "errors",
    "config",
    "records",
    "prompts",
    "plan",
    "storage",
    "reports",
    "cli",
    "terminal",
    "viewer",
}
PLAIN_ARGUMENTS = {"methods", "prompts"}
"""Floors that take plain arguments, never a config."""


@dataclass(frozen=True)
class Import:
    """One import statement; `name` is the imported module, in full."""

    floor: str
    name: str
    where: str

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]

    @property
    def target(self) -> str | None:
        """The floor it reaches, or None outside the package."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == PACKAGE.name and len(parts) > 1 else None


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(source: str, floor: str, where: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}:{node.lineno} is a relative import"
            module = str(node.module)
            # `from ray_autointerp import storage` reaches a floor too.
            whole = module == PACKAGE.name
            names = [f"{module}.{a.name}" for a in node.names] if whole else [module]
        else:
            continue
        for name in names:
            yield Import(floor, name, f"{where}:{node.lineno}")


def all_imports() -> list[Import]:
    return [
        found
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
        for found in imports_of(path.read_text(), floor_of(path), str(path.relative_to(ROOT)))
    ]


def breaches(imports: list[Import]) -> list[str]:
    """Every import that a rule forbids, as a sentence."""
    height = {floor: level for level, floors in enumerate(FLOORS) for floor in floors}
    found = []
    for one in imports:
        target = one.target
        if target is not None and target != one.floor and height[target] >= height[one.floor]:
            found.append(f"{one.where}: {one.floor} imports {target}, which is not below it")
        if target == "config" and one.floor in PLAIN_ARGUMENTS:
            found.append(f"{one.where}: {one.floor} takes plain arguments, never a config")
        if one.floor not in ONLY_IN.get(one.library, {one.floor}):
            found.append(f"{one.where}: {one.library} is only for {ONLY_IN[one.library]}")
        if one.library == "torch" and one.floor in WITHOUT_TORCH:
            found.append(f"{one.where}: no torch in {one.floor}")
        if one.floor == "config" and one.library not in {
            *sys.stdlib_module_names,
            "pydantic",
            PACKAGE.name,
        }:
            found.append(f"{one.where}: config knows pydantic alone")
    return found


def test_floors_are_the_packages_files() -> None:
    there = {floor_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert there == set().union(*FLOORS)


def test_imports_go_down_and_libraries_stay_on_their_floors() -> None:
    imports = all_imports()
    assert len(imports) > 300, "the whole package was read"
    assert breaches(imports) == []


@pytest.mark.parametrize(
    ("floor", "line"),
    [
        ("methods", "from ray_autointerp.prompts.answer import BadAnswer"),
        ("storage", "from ray_autointerp import stages"),
        ("records", "import ray_autointerp.plan.shards"),
        ("prompts", "from ray_autointerp.config import Config"),
        ("stages", "import ray"),
        ("stages", "def late():\n    from vllm import LLM"),
        ("cluster", "import transformer_lens.model_bridge"),
        ("reports", "from torch import nn"),
        ("config", "import pyarrow"),
    ],
)
def test_forbidden_import_is_seen(floor: str, line: str) -> None:
    assert len(breaches(list(imports_of(line, floor, "x.py")))) == 1


def test_package_files_are_empty() -> None:
    """Re-exports are where import cycles come from."""
    filled = [path for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()]
    assert filled == [PACKAGE / "__init__.py"], "the public names, imported when they are used"


BLOCK = """
import importlib, importlib.abc, runpy, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocked())
"""


def run_without(blocked: set[str], code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + code],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def modules_on(*floors: str) -> list[str]:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if floor_of(path) in floors]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


HEAVY = {"ray", "torch", "vllm", "transformer_lens", "sae_lens", "transformers", "datasets"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("floors", "blocked"),
    [
        (("errors", "config", "records", "prompts", "plan"), HEAVY | {"boto3", "botocore"}),
        (("storage", "reports", "viewer", "terminal"), HEAVY),
        (("methods",), HEAVY - {"torch"} | {"boto3"}),
        (("llm",), HEAVY | {"boto3"}),
        (
            ("models", "runs", "passes", "stages", "preflight", "execution", "pipeline"),
            {"ray", "vllm"},
        ),
        (("cluster", "cli"), {"vllm", "datasets"}),
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else "-".join(value),
)
def test_floors_import_without_what_they_may_not_use(
    floors: tuple[str, ...], blocked: set[str]
) -> None:
    names = modules_on(*floors)
    assert len(names) >= len(floors)
    run_without(blocked, f"for name in {names!r}: importlib.import_module(name)")


def test_help_comes_without_any_slow_library() -> None:
    """A typo at the prompt should not wait ten seconds for torch."""
    said = run_without(
        HEAVY | {"boto3", "pyarrow"},
        "sys.argv = ['ray-autointerp', '--help']; runpy.run_module('ray_autointerp.cli')\n"
        "from ray_autointerp.cli import main\nmain()",
    )
    assert "Usage: ray-autointerp" in said


def test_reading_a_run_loads_neither_torch_nor_ray(quick_run: Run) -> None:
    said = run_without(
        HEAVY,
        "import ray_autointerp\n"
        "before = {'pyarrow', 'pydantic', 'rich', 'boto3'} & set(sys.modules)\n"
        f"run = ray_autointerp.read_run({quick_run.uri!r})\n"
        "card = run.latent(1)\n"
        "run.labels(), run.scores(), run.examples(1), run.search('x'), card._repr_html_()\n"
        "print(before, card)",
    )
    assert said.startswith("set() planted · latent 1")
