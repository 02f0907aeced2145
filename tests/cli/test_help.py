"""What the commands say of themselves, word for word.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/cli/test_help.py`, then read the diff.
"""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_commands import COMMANDS

from ray_autointerp.terminal.help_text import EXAMPLES, EXIT_CODES, FIRST_SESSION

GOLDEN = Path(__file__).parent / "golden"
LINES = [
    *FIRST_SESSION,
    *(f"ray-autointerp {line}" for of in EXAMPLES.values() for line in of.values()),
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
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


def test_every_command_has_one_to_three_examples_of_its_own() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    for command, of in EXAMPLES.items():
        assert 1 <= len(of) <= 3
        assert all(line.split()[0] == command for line in of.values())


@pytest.mark.parametrize("line", LINES)
def test_example_can_be_pasted(line: str) -> None:
    """Its options exist and its arguments are as many as the command takes; a narrow terminal does
    not fold it.
    """
    program, name, *arguments = shlex.split(line.partition(" > ")[0])
    assert program == "ray-autointerp"
    COMMANDS[name].make_context(name, arguments)
    assert len(line) <= 76


def test_exit_codes_are_in_the_help(cli: Callable[..., Any]) -> None:
    said = cli("--help").out
    for code, meaning in EXIT_CODES.items():
        assert f"{code}  {meaning[:40]}" in said
