"""A stage reads what its step declares, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.config import Config
from ray_autointerp.plan.flow import step_named
from ray_autointerp.runs.declared_config import UndeclaredConfigError, declared_config

Planted = Callable[..., Config]


def test_declared_fields_and_operations_can_be_read(quick_config: Planted, tmp_path: Path) -> None:
    config = quick_config(tmp_path)
    view = declared_config(config, step_named("select"))
    assert view.select.rule == config.select.rule
    assert view.run.seed == config.run.seed
    assert view.operations.threads == config.operations.threads
    judged = declared_config(config, step_named("output_score"))
    assert judged.judging.temperature == config.judging.temperature


@pytest.mark.parametrize(
    ("section", "field"),
    [("evidence", "change_windows"), ("operations", "micro_batch"), ("score", "methods")],
)
def test_undeclared_field_cannot_be_read(
    quick_config: Planted, tmp_path: Path, section: str, field: str
) -> None:
    view = declared_config(quick_config(tmp_path), step_named("select"))
    with pytest.raises(UndeclaredConfigError, match=f"select reads the config field {section}"):
        getattr(getattr(view, section), field)
