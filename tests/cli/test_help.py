"""What the commands say of themselves, word for word.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/cli/test_help.py`, then read the diff.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = ("", "label", "plan", "show", "labels", "compare", "history", "bill", "doctor")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_the_golden_one(
    cli: Callable[..., Any], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    said = cli(*command.split(), "--help")
    assert said.code == 0
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in said.out.splitlines()]
    shown = "\n".join(lines).strip() + "\n"
    file = GOLDEN / f"help_{command or 'all'}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


def test_no_command_shows_the_help(cli: Callable[..., Any]) -> None:
    said = cli()
    assert said.code in (0, 2)
    assert "doctor" in said.out + said.err
