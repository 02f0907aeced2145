"""The printed schema of every table: a changed column shows as a diff and wants a new version."""

import os
from pathlib import Path

import pytest

from ray_autointerp.plan.flow import FLOW
from ray_autointerp.records.schemas import SCHEMA_VERSION, TABLES
from ray_autointerp.records.status import CASES, STATUSES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_schema_is_the_golden_one(name: str) -> None:
    table = TABLES[name]
    printed = f"version {SCHEMA_VERSION}\nkey {', '.join(table.key)}\n{table.schema}\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(printed)
    assert path.read_text() == printed, "raise SCHEMA_VERSION and UPDATE_GOLDEN=1 if meant"


def test_every_table_a_step_writes_has_a_schema() -> None:
    for step in FLOW:
        for table in step.writes:
            assert table.split("/")[0] in TABLES


def test_status_every_one_has_its_case() -> None:
    assert set(CASES) == set(STATUSES)
