"""The labels of a run: a line each for eyes, all of it on demand, and as CSV.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/reports/test_label_table.py`, then read the
diff.
"""

import csv
import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from ray_autointerp.records.schemas import TABLES
from ray_autointerp.reports.label_table import (
    Filter,
    LabelLines,
    basis,
    filtered,
    labels,
    wide_label_table,
    write_csv,
)
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (80, 120, 160)


def printed(report: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(report)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def table_of(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=TABLES["labels"].schema)


LONG = (
    'verbs with which a court, a council or a single person decides: "determine", "decide" and '
    '"rule", most of all in the past tense, and it leads to the noun "decision"'
)
LABELS = table_of(
    {
        "latent": 7,
        "label": LONG,
        "method": "max_act",
        "status": "ok",
        "density": 0.00204,
        "input_auroc": 0.944,
        "output_win_rate": 0.75,
        "output_win_rate_low": 0.468,
        "output_win_rate_high": 0.911,
        "fires_on": [" determined", " decide", "decide", " ruled", " ruling"],
        "promotes": [" decision", " decisions", " verdict", " whether", "\n"],
    },
    {
        "latent": 12345,
        "label": "numbers\nleads to units",
        "method": "ensemble_concat",
        "status": "ok",
        "fires_on": ["0", "1"],
        "promotes": [" dozen"],
    },
    {"latent": 23456, "status": "lint", "fires_on": [], "promotes": [" 鳥", " bird"]},
)


def test_labels_of_a_run_are_all_latents_in_order(quick_run: Run) -> None:
    table = labels(quick_run, "planted")
    assert table["latent"].to_pylist() == list(range(56))


def test_filters_hold_together(quick_run: Run) -> None:
    table = labels(quick_run, "planted")
    chosen = filtered(table, Filter(described_only=True))
    assert chosen["chosen"].to_pylist() == [True] * 6
    (latent,) = chosen["latent"].to_pylist()[:1]
    word = chosen["label"][0].as_py().split('"')[1]
    one = filtered(table, Filter(described_only=True, contains=f'"{word.upper()}"', min_input=0.9))
    assert one["latent"].to_pylist() == [latent]
    assert filtered(table, Filter(method="max_act")).num_rows == 0
    assert filtered(table, Filter(min_output=0.5)).num_rows <= 6


def test_sorting_by_a_score_puts_rows_without_one_last(quick_run: Run) -> None:
    scores = filtered(labels(quick_run, "planted"), Filter(), "input_auroc")["input_auroc"]
    known = [score for score in scores.to_pylist() if score is not None]
    assert scores.to_pylist()[: len(known)] == sorted(known, reverse=True)


def test_csv_has_every_column_and_row_and_reads_back(quick_run: Run) -> None:
    table, file = labels(quick_run, "planted"), io.StringIO()
    write_csv(table, file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert list(rows[0]) == TABLES["labels"].schema.names
    assert [row["label"] for row in rows] == table["label"].to_pylist()


def test_labels_are_sorted_by_the_score_of_keywords_too(quick_run: Run) -> None:
    scores = filtered(labels(quick_run, "planted"), Filter(), "keyword_f1")["keyword_f1"]
    assert scores[0].as_py() == 1 and scores[-1].as_py() is None


@pytest.mark.parametrize("width", WIDTHS)
def test_lines_of_labels_are_the_golden_ones(width: int) -> None:
    text, golden = printed(LabelLines(LABELS, "l8"), width), GOLDEN / f"labels_{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_each_latent_is_one_line_with_its_label_and_tokens(quick_run: Run) -> None:
    table = labels(quick_run, "planted")
    _, head, *lines = printed(LabelLines(table, "planted"), 200).splitlines()
    assert head.split() == ["latent", "label", "fires", "on", "promotes"]
    for row, line in zip(table.to_pylist(), lines, strict=True):
        assert line.split()[0] == str(row["latent"])
        assert row["label"][:40] in line
        assert line.endswith(", ".join(row["promotes"]))


@given(st.text(min_size=1), st.integers(60, 180))
def test_any_label_is_one_line_within_the_width(text: str, width: int) -> None:
    row = {"latent": 3, "label": text * 5, "fires_on": [text] * 5, "promotes": [text] * 5}
    lines = printed(LabelLines(table_of(row, {**row, "latent": 4}), text), width).splitlines()
    assert len(lines) == 4
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("report", [LabelLines, wide_label_table])
def test_markup_and_escapes_of_a_label_are_text(report: Any) -> None:
    row = {"latent": 3, "label": "[red]a\x1b[2J", "fires_on": ["[/]"], "promotes": ["b"]}
    shown = printed(report(table_of(row), "[blue]"), 120)
    assert "[red]a\\x1b[2J" in shown and "[/]" in shown and "[blue]" in shown


def test_wide_table_shows_the_whole_label_method_and_scores() -> None:
    shown = printed(wide_label_table(LABELS, "l8"), 100)
    assert set(LONG.split()) <= set(shown.split())
    for word in ("max_act", "0.20 %", "0.94", "0.75", "0.47-0.91", "determined, decide", "(lint)"):
        assert word in shown


NAMED = {
    "latent": 7,
    "label": 'time and duration; fires on "time", "when"',
    "method": "named_keywords",
    "name": "time and duration",
    "name_win_rate": 0.8,
}


@pytest.mark.parametrize(
    ("low", "is_broad"), [(0.53, False), (0.5, True), (0.3, True), (None, False)]
)
def test_name_that_is_not_shown_to_win_more_than_half_is_marked_too_broad(
    low: float | None, is_broad: bool
) -> None:
    """Its row says so, a line below says what that means; a name not scored has no mark."""
    row = NAMED | {"name_win_rate_low": low, "name_win_rate_high": 0.97}
    for report in (LabelLines, wide_label_table):
        shown = printed(report(table_of(row), "l8"), 160)
        assert ("time and duration (too broad)" in shown) == is_broad
        assert "(too broad)" not in printed(report(table_of(row | {"name": None}), "l8"), 160)
    lines = printed(LabelLines(table_of(row), "l8"), 160).splitlines()
    assert ("more than half of the trials" in lines[-1]) == is_broad


@pytest.mark.parametrize(
    ("low", "shown"), [(0.53, "time and duration; "), (0.5, ""), (0.3, ""), (None, "")]
)
def test_name_stands_before_a_label_of_another_method_only_where_it_is_shown_to_win(
    low: float | None, shown: str
) -> None:
    own = NAMED | {"name_win_rate_low": 0.53}
    other = {"latent": 8, "label": "responds to clocks", "method": "max_act"}
    table = table_of(own, NAMED | other | {"name_win_rate_low": low})
    _, _, *lines = (line.strip() for line in printed(LabelLines(table, "l8"), 160).splitlines())
    assert lines == [
        '7  time and duration; fires on "time", "when"',
        f"8  {shown}responds to clocks",
    ]


def test_basis_tells_how_much_the_numbers_rest_on(quick_run: Run) -> None:
    said = basis(quick_run)
    score = quick_run.config.score
    assert "56 latents watched on about 20,000 tokens" in said
    assert f"{score.num_units} trials on sets of {score.texts_per_set} steered texts" in said
    assert f"{score.num_sentences} + {score.num_sentences} sentences" in said


def test_basis_tells_which_share_is_told_by_its_own_tokens(quick_run: Run) -> None:
    """On the planted subject: every latent that fires often enough, and no dead one is counted."""
    tables = Tables(quick_run)
    dead = [row["is_dead"] for row in tables.read("latent_stats", "planted").to_pylist()]
    scores = tables.read("keyword_scores", "planted").to_pylist()
    alive = [row for row, is_dead in zip(scores, dead, strict=True) if not is_dead]
    num_seldom = sum(row["status"] == "too_few_firings" for row in alive)
    said = basis(quick_run)
    share = f"{1 - num_seldom / len(alive):.0%}"
    assert f"Of {len(alive)} alive latents {share} are told by their own tokens" in said
    assert f"{num_seldom} fire there too seldom to say" in said
