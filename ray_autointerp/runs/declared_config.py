"""The config as one step may read it: a field that the step does not declare cannot be read.

So identity (plan/identity.py), which is made of the declared fields, holds everything that decides
a table: an undeclared read fails in every test that runs the step.
"""

from typing import Any, cast

from ray_autointerp.config import Config, Section
from ray_autointerp.plan.step import Step


class UndeclaredConfigError(AssertionError):
    """A stage read a config field that its step does not declare in plan/flow.py."""


def declared_config(config: Config, step: Step) -> Config:
    """A view of the config; reading an undeclared field raises UndeclaredConfigError."""
    return cast(Config, _View(config, step, ""))


class _View:
    """One section, read only. Fields of the kind `operations` are free for every step."""

    def __init__(self, section: Section, step: Step, path: str) -> None:
        self._section, self._step, self._path = section, step, path

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._section, name)
        path = f"{self._path}.{name}" if self._path else name
        if isinstance(value, Section):
            return _View(value, self._step, "judge" if path == "judging" else path)
        kinds = type(self._section)
        if name in kinds.model_fields and kinds.kind_of(name) != "operations":
            declared = self._step.config
            if not any(path == one or path.startswith(f"{one}.") for one in declared):
                raise UndeclaredConfigError(
                    f"step {self._step.name} reads the config field {path}: declare it in the "
                    "step's `config` in plan/flow.py"
                )
        return value
