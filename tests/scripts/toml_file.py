"""A config as a person's file."""

import json
from collections.abc import Iterator
from pathlib import Path

from ray_autointerp.config import Config


def write_toml(config: Config, folder: Path) -> Path:
    """config.toml in the folder: JSON strings, numbers and lists are TOML too."""
    path = folder / "config.toml"
    path.write_text("\n".join(_lines(config.model_dump(mode="json", exclude_none=True))))
    return path


def _lines(values: dict[str, object], path: str = "") -> Iterator[str]:
    plain = {k: v for k, v in values.items() if not _is_table(v)}
    if path:
        yield f"[{path}]"
    for key, value in plain.items():
        yield f"{key} = {json.dumps(value)}"
    for key, value in values.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from _lines(value, name)
        elif _is_table(value):
            assert isinstance(value, list)
            for one in value:
                first, *rest = _lines(one, name)
                yield from (f"[{first}]", *rest)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )
