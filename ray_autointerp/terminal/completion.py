"""What the shell completes: runs on this machine, and what a run's manifest or a command knows.

Answers while a key is held, so it reads names and one small file, and never a store elsewhere.
Where nothing fits it gives nothing, and the shell completes file names.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from ray_autointerp.records.layout import MANIFEST

_DEPTH = 3
"""Folders that are looked through below the one being typed."""

_MOST = 200
"""Runs that are named."""


def complete_run(incomplete: str) -> list[str]:
    """Folders of runs that begin so."""
    if incomplete.startswith(("s3:", "~")):
        return []
    folder, _, _ = incomplete.rpartition("/")
    start = Path(folder or ("/" if incomplete.startswith("/") else "."))
    found = []
    for run in _runs(start, _DEPTH):
        name = str(run)
        if name.startswith(incomplete.removeprefix("./")):
            found.append(f"./{name}" if incomplete.startswith("./") else name)
        if len(found) == _MOST:
            break
    return found


def complete_sae(ctx: typer.Context, incomplete: str) -> list[str]:
    """The SAEs of the run that was typed before."""
    return _starting(incomplete, (str(sae) for sae, _ in _manifest(ctx)["axes"]["latents"]))


def complete_method(ctx: typer.Context, incomplete: str) -> list[str]:
    """The methods by which the run that was typed before describes."""
    return _starting(incomplete, _manifest(ctx)["config"]["describe"]["methods"])


def complete_sort(incomplete: str) -> list[str]:
    """The columns that `labels` sorts by."""
    from ray_autointerp.reports.label_table import SORT_COLUMNS

    return _starting(incomplete, SORT_COLUMNS)


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    """Runs have no runs below them."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            if (path / MANIFEST).is_file():
                yield path
            elif depth > 1:
                yield from _runs(path, depth - 1)


def _manifest(ctx: typer.Context) -> dict[str, Any]:
    """Of a run on this machine; an empty one where it cannot be read."""
    manifest: dict[str, Any] = {
        "axes": {"latents": []},
        "config": {"describe": {"methods": []}},
    }
    # An option that waits for its value ends the parsing before arguments are told apart.
    run = ctx.params.get("run") or next(iter(ctx.args), "")
    with suppress(OSError, ValueError, TypeError):
        text = (Path(run).expanduser() / MANIFEST).read_text()
        manifest |= json.loads(text)
    return manifest


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
