"""Each file says what it is, and each step of the flow is one file of its name."""

import ast
from pathlib import Path

from ray_autointerp.plan.flow import FLOW

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ray_autointerp"


def test_every_module_opens_by_saying_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_stages_are_the_flow() -> None:
    files = {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    assert files == {step.name for step in FLOW}
