import io

import pytest
from rich.console import Console

from ray_autointerp.errors import UserError
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.reports.label_table import Filter, filtered, labels
from ray_autointerp.reports.latent_card import latent_card, marked
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


def shown(run: Run, latent: int) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(latent_card(run, "planted", latent))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_chosen_latent_shows_examples_tokens_descriptions_and_scores(
    quick_run: Run, planted: PlantedTruth
) -> None:
    latent = filtered(labels(quick_run, "planted"), Filter(chosen_only=True))["latent"][0].as_py()
    card = shown(quick_run, latent)
    for word in (
        "top examples",
        "VocabProj",
        "TokenChange",
        "raised",
        "lowered",
        "AUROC",
        "nearest",
    ):
        assert word in card
    assert planted.triggers[latent] in card and planted.effects[latent] in card
    for method in quick_run.config.describe.methods:
        assert method in card


def test_tokens_are_shown_with_their_z_and_scores_without_an_llm_in_one_line(
    quick_run: Run, planted: PlantedTruth
) -> None:
    card, tables = shown(quick_run, 2), Tables(quick_run)
    entry = tables.row("vocab_proj", "planted", [2])[2]["promoted"][0]
    assert f"{entry['text']!r}\N{NO-BREAK SPACE}{entry['z']:.0f}," in card
    row = tables.row("free_scores", "planted", [2])[2]
    (line,) = [line for line in card.splitlines() if "S_out" in line]
    assert f"{row['s_out']:.3f}" in line and f"{row['effect_kl_amplified']:.2f} amplified" in line
    assert planted.triggers[2] in line and "100%" in line


def test_latent_that_never_fires_shows_what_it_promotes(
    quick_run: Run, planted: PlantedTruth
) -> None:
    card = shown(quick_run, 55)
    assert "dead" in card and planted.effects[55] in card


def test_latent_outside_the_run_is_refused_with_the_range(quick_run: Run) -> None:
    with pytest.raises(UserError, match="Latent 56 is not among 0:56"):
        shown(quick_run, 56)


def test_marks_grow_with_the_activation() -> None:
    line = marked(["a", "b", "c"], [0.0, 0.2, 1.0], 1.0)
    styles = [str(span.style) for span in line.spans]
    assert styles == ["dim", "yellow underline", "bold black on yellow"]
