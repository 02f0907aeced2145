"""`--json`: one document per command, whose keys others' programs rest on.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/cli/test_json.py`, then read the diff.
"""

import io
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.reports.json_document import write_json
from ray_autointerp.reports.label_table import labels
from ray_autointerp.reports.latent_rows import latent_rows
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Cli = Callable[..., Any]
GOLDEN = Path(__file__).parent / "golden" / "json_keys.txt"
SAE = "planted"

READING = {
    "status": (),
    "labels": (),
    "search": ("fires on",),
    "show": ("1",),
    "compare": (),
    "bill": (),
    "history": (),
    "history of a latent": ("1",),
    "agreement": (),
}
"""What is asked of the quick run, by command."""


@pytest.fixture
def document(cli: Cli) -> Callable[..., Any]:
    """document("status", uri) is what it says with --json, and nothing else."""

    def read(*arguments: object) -> Any:
        said = cli(*arguments, "--json")
        assert said.code == 0, said.err
        assert said.out.isascii()
        return json.loads(said.out)

    return read


BY_NAME = (".failed_attempts", ".revivals", ".latents", ".descriptions[].scores")
"""Objects whose keys are names of methods, SAEs and outcomes."""


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Every key below those that it stands in; `*` is any name, `[]` any item."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{path}.{'*' if path.endswith(BY_NAME) else key}"
            yield here
            yield from keys(item, here)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, f"{path}[]")


def test_keys_are_the_golden_ones(
    document: Callable[..., Any], quick_run: Run, config_file: Callable[..., Path]
) -> None:
    chosen = str(next(iter(Tables(quick_run).selection(SAE))))
    found = {"plan": document("plan", config_file())}
    for name, arguments in READING.items():
        command, *_ = name.split()
        more = (chosen,) if name == "show" else arguments
        found[name] = document(command, quick_run.uri, *more)
    found["compare of two"] = document("compare", quick_run.uri, quick_run.uri)
    lines = []
    for name, value in found.items():
        lines += [name, *(f"  {key}" for key in sorted(set(keys(value))))]
    shown = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(shown)
    assert shown == GOLDEN.read_text()


def test_labels_are_all_that_pass_the_filters(document: Callable[..., Any], quick_run: Run) -> None:
    rows = labels(quick_run, SAE).to_pylist()
    assert document("labels", quick_run.uri, "--limit", "2")["labels"] == rows
    kept = document("labels", quick_run.uri, "--chosen")["labels"]
    assert [row["latent"] for row in kept] == [row["latent"] for row in rows if row["chosen"]]


def test_latent_is_its_rows(document: Callable[..., Any], quick_run: Run) -> None:
    found = document("show", quick_run.uri, "1")
    rows = latent_rows(Tables(quick_run), SAE, 1)
    assert found["stats"] == rows.stats
    assert found["label"] == rows.label
    assert [one["method"] for one in found["descriptions"]] == [
        one.method for one in rows.descriptions
    ]
    assert found["missing_tables"] == []


def test_numbers_are_those_of_the_tables(
    document: Callable[..., Any], quick_run: Run, config_file: Callable[..., Path], root: Path
) -> None:
    status = document("status", quick_run.uri)
    assert status["is_finished"] and status["num_done"] == status["num_tasks"] > 0
    assert status["num_done"] == sum(step["done"] for step in status["steps"])
    bill = document("bill", quick_run.uri)
    assert bill["total"]["num_requests"] == sum(step["num_requests"] for step in bill["steps"]) > 0
    assert bill["total"]["cost"] is None, "no price is set"
    scores = document("compare", quick_run.uri)["scores"]
    assert all(0 <= row["mean"] <= 1 for row in scores if row["score"] == "output_win_rate")
    (run,) = document("history", quick_run.uri)["runs"]
    assert (run["run"], run["parent"], run["taken_over"]) == ("planted", None, [])
    plan = document("plan", config_file())
    assert {step["step"] for step in plan["steps"]} >= {"corpus", "output_score"}
    assert not root.exists()


def test_what_json_does_not_know_is_null_or_escaped() -> None:
    stream = io.StringIO()
    write_json({"a": math.nan, "b": (math.inf, 1.5), "c": "\x1b[31m\u202e"}, stream)
    assert json.loads(stream.getvalue()) == {"a": None, "b": [None, 1.5], "c": "\x1b[31m\u202e"}
    assert "\x1b" not in stream.getvalue() and stream.getvalue().isascii()
