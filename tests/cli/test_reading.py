"""plan, labels and show: what a person reads of a run, and refusals of what is not there."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.records.flow import FLOW
from ray_autointerp.stages.run import Run

Cli = Callable[..., Any]


def test_plan_shows_every_step_and_writes_nothing(
    cli: Cli, config_file: Callable[..., Path], root: Path
) -> None:
    said = cli("plan", config_file())
    assert said.code == 0, said.err
    for step in FLOW:
        assert step.name in said.out
    assert not root.exists()


def test_labels_as_csv_are_all_latents(cli: Cli, quick_run: Run) -> None:
    said = cli("labels", quick_run.uri, "--csv")
    assert said.code == 0, said.err
    rows = list(csv.DictReader(io.StringIO(said.out)))
    latents = quick_run.axes.latents["planted"]
    assert [int(row["latent"]) for row in rows] == list(range(latents.start, latents.stop))


def test_labels_says_how_many_it_leaves_out(cli: Cli, quick_run: Run) -> None:
    said = cli("labels", quick_run.uri, "--limit", "3")
    assert "the first 3" in said.out
    assert said.out.count("keywords") + said.out.count("ensemble") == 3


def test_show_of_a_latent_names_it(cli: Cli, quick_run: Run) -> None:
    said = cli("show", quick_run.uri, "1")
    assert said.code == 0, said.err
    assert "promote" in said.out.lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "1000000"), ("1000000", "latents")),
        (("show", "1", "--sae", "other"), ("--sae", "planted")),
        (("labels", "--sort", "beauty"), ("beauty", "density")),
        (("labels", "--contains", "("), ("--contains", "(")),
    ],
)
def test_what_the_run_does_not_have_is_refused(
    cli: Cli, quick_run: Run, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    command, *rest = arguments
    assert cli(command, quick_run.uri, *rest).refuses(*words)


def test_folder_that_is_no_run_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("labels", tmp_path).refuses(str(tmp_path), "manifest.json")
