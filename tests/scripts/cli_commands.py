"""The commands of the command line, by name."""

import click
import typer

from ray_autointerp.cli import app

COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
