import csv
import io

from rich.console import Console

from ray_autointerp.records.schemas import TABLES
from ray_autointerp.reports.label_table import (
    Filter,
    basis,
    filtered,
    label_table,
    labels,
    write_csv,
)
from ray_autointerp.runs.run import Run


def test_labels_of_a_run_are_all_latents_in_order(quick_run: Run) -> None:
    table = labels(quick_run, "planted")
    assert table["latent"].to_pylist() == list(range(56))


def test_filters_hold_together(quick_run: Run) -> None:
    table = labels(quick_run, "planted")
    chosen = filtered(table, Filter(chosen_only=True))
    assert chosen["chosen"].to_pylist() == [True] * 6
    (latent,) = chosen["latent"].to_pylist()[:1]
    word = chosen["label"][0].as_py().split('"')[1]
    one = filtered(table, Filter(chosen_only=True, contains=f'"{word.upper()}"', min_input=0.9))
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


def test_table_for_eyes_shows_label_method_and_scores(quick_run: Run) -> None:
    console = Console(file=io.StringIO(), width=140)
    chosen = filtered(labels(quick_run, "planted"), Filter(chosen_only=True))
    console.print(label_table(chosen, "planted"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for row in chosen.to_pylist():
        assert str(row["latent"]) in shown
    assert "ensemble_raw" in shown and "1.00" in shown


def test_basis_tells_how_much_the_numbers_rest_on(quick_run: Run) -> None:
    said = basis(quick_run)
    score = quick_run.config.score
    assert "56 latents watched on about 20,000 tokens" in said
    assert f"{score.num_units} trials" in said
    assert f"{score.num_sentences} + {score.num_sentences} sentences" in said
