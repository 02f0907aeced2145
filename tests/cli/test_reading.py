"""plan, labels and show: what a person reads of a run, and refusals of what is not there."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.cli import PIPED_WIDTH
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.reports import compare
from ray_autointerp.reports.labelled_run import read_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.viewer.report_file import report_file

Cli = Callable[..., Any]


def test_plan_shows_every_step_and_writes_nothing(
    cli: Cli, config_file: Callable[..., Path], root: Path
) -> None:
    said = cli("plan", config_file({"score": {"num_surprisal_trials": 2}}))
    assert said.code == 0, said.err
    for step in FLOW:
        has_line = step.name not in {"match", "carry_check"}  # there is no parent run
        assert (step.name in said.out) == has_line, step.name
    assert not root.exists()


def test_plan_says_of_each_sae_whether_it_fits_where_asked(
    cli: Cli, config_file: Callable[..., Path], root: Path, quick_run: Run
) -> None:
    """The planted SAE reconstructs nothing, which its config lets pass."""
    (fit,) = Tables(quick_run).read("sae_fit", "planted").to_pylist()
    lets = {"warn_unexplained": 1e12, "most_unexplained": 1e12}
    for section, verdict, said in (
        (lets, "fits", ""),
        (lets | {"warn_unexplained": 0.5}, "warns", "its labels explain little"),
        (lets | {"most_unexplained": 0.5}, "stops", "set sae_fit.most_unexplained above"),
    ):
        plan = cli("plan", config_file({"sae_fit": section}), "--fit")
        assert plan.code == 0, plan.err
        shown = " ".join(plan.out.partition("whether the SAEs fit")[2].split())
        assert verdict in shown and said in shown
        assert f"{fit['l0']:.1f}" in shown and f"{fit['unexplained']:.1%}" in shown
    assert "plan --fit" in cli("plan", config_file()).out
    assert not root.exists()


def test_llm_of_the_command_line_takes_the_place_of_the_configs(
    cli: Cli, config_file: Callable[..., Path], planted: PlantedTruth, monkeypatch: Any
) -> None:
    """Whatever backend the config names; a folder is looked for where the command is given."""
    monkeypatch.chdir(planted.folder)
    said = cli("plan", config_file(), "--llm", "./subject")
    assert said.code == 0, said.err
    assert "subject" in said.out.partition("what the LLM is asked")[2]
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    server = ("--llm", "https://llm.example.com/v1", "--llm-model", "big/judge")
    said = cli("plan", config_file(), *server)
    assert said.code == 0, said.err
    assert "big/judge (of the endpoint backend)" in said.out
    by_likelihood = config_file({"score": {"judged_by": "likelihood"}})
    assert cli("plan", by_likelihood, *server).code == 0, "a server judges by choice"
    endpoints = {"backend": "endpoint", "model": "m", "endpoints": ["https://host/v1"]}
    said = cli("plan", config_file({"llm": endpoints}), "--llm", "./subject")
    assert said.code == 0, said.err
    assert "endpoint backend" not in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--llm", "https://host/v1"), ("--llm-model", "https://host/v1")),
        (("--llm", "some/model", "--llm-model", "other"), ("--llm-model", "some/model")),
        (("--llm-model", "other"), ("--llm-model",)),
        (("--llm", ""), ("--llm", "model")),
        (("--llm", "./nowhere"), ("nowhere", "does not exist")),
    ],
)
def test_llm_that_is_half_named_is_refused(
    cli: Cli, config_file: Callable[..., Path], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert cli("plan", config_file(), *arguments).refuses(*words)


def test_plan_leaves_out_what_is_switched_off_and_says_how_names_are_scored(
    cli: Cli, config_file: Callable[..., Path]
) -> None:
    off = {"detection_texts": 0, "fuzzing_texts": 0, "num_unseen_trials": 0}
    methods = {"methods": ["named_keywords", "keywords"]}
    score = {**methods, **off, "three_set_methods": []}
    said = cli(
        "plan", config_file({"score": score, "describe": methods, "select": {"controls": 0}})
    )
    assert said.code == 0, said.err
    steps = {line.split()[0] for line in said.out.splitlines() if line.split()}
    assert "output_score" in steps
    assert not {"detection", "fuzzing", "unseen_tokens", "shuffle"} & steps
    assert "Names are not scored" in said.out
    named = ["named_keywords", "keywords", "name"]
    sections = {"score": {**score, "methods": named}, "describe": {"methods": named}}
    assert "Names are not scored" not in cli("plan", config_file(sections)).out


def test_labels_as_csv_are_all_latents(cli: Cli, quick_run: Run) -> None:
    said = cli("labels", quick_run.uri, "--csv")
    assert said.code == 0, said.err
    rows = list(csv.DictReader(io.StringIO(said.out)))
    latents = quick_run.axes.latents["planted"]
    assert [int(row["latent"]) for row in rows] == list(range(latents.start, latents.stop))


def test_labels_says_how_many_it_leaves_out(cli: Cli, quick_run: Run) -> None:
    said = cli("labels", quick_run.uri, "--limit", "3")
    title, _, *lines = said.out.splitlines()
    assert "the first 3" in title
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]


def test_wide_labels_name_method_and_scores(cli: Cli, quick_run: Run) -> None:
    said = cli("labels", quick_run.uri, "--wide", "--limit", "3")
    assert said.out.count("keywords") + said.out.count("ensemble") == 3
    assert "win rate" in said.out


@pytest.mark.parametrize(("columns", "width"), [(None, PIPED_WIDTH), ("90", 90), ("170", 170)])
def test_in_a_pipe_the_width_is_fixed_unless_columns_is_set(
    quick_run: Run, columns: str | None, width: int
) -> None:
    """In a process of its own, whose other streams may be a terminal's."""
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    command = [sys.executable, "-c", "from ray_autointerp.cli import main; main()"]
    shown = subprocess.run(
        [*command, "show", quick_run.uri, "1"],
        env=environment | ({"COLUMNS": columns} if columns else {}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert max(map(len, shown.stdout.splitlines())) == width, "rules are as wide as the page"


def test_show_of_a_latent_names_it(cli: Cli, quick_run: Run) -> None:
    said = cli("show", quick_run.uri, "1")
    assert said.code == 0, said.err
    assert "promote" in said.out.lower()


def test_compare_shows_every_scored_method_and_csv_is_long(cli: Cli, quick_run: Run) -> None:
    said = cli("compare", quick_run.uri)
    assert said.code == 0, said.err
    for words in (*quick_run.config.score.methods, "label", "input AUROC", "unseen win rate"):
        assert words in said.out
    twice = cli("compare", quick_run.uri, quick_run.uri)
    assert "6 shared latents" in twice.out and "less" in twice.out
    rows = list(csv.DictReader(io.StringIO(cli("compare", quick_run.uri, "--csv").out)))
    assert {row["method"] for row in rows} == {*quick_run.config.score.methods, "label"}
    assert all(0 <= float(row["mean"]) <= 1 for row in rows if "rate" in row["score"])


def test_bill_shows_every_llm_step_and_other_prices(
    cli: Cli, counted_run: tuple[Run, list[Any]], config_file: Callable[..., Path]
) -> None:
    run, asked = counted_run
    said = cli("bill", run.uri)
    assert said.code == 0, said.err
    assert f"{len(asked)}" in said.out
    priced = config_file()
    priced.write_text(priced.read_text() + "\n[llm.price]\nprompt = 1000\n")
    money = sum(line["num_prompt_tokens"] for line in asked) / 1000
    dear = cli("bill", run.uri, "--config", priced)
    assert f"{money:,.4g}" in dear.out, dear.out


@pytest.mark.slow
def test_label_ends_with_what_the_llm_cost_or_with_its_ceiling(
    cli: Cli,
    counted_run: tuple[Run, list[Any]],
    tmp_path: Path,
    quick_config: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It also says which forced choices are off chance; a fair judge's run says nothing."""

    def label(name: str, **budget: int) -> Any:
        llm = {"script": "counted:counted"}
        config = quick_config(tmp_path, {"llm": llm, "budget": budget}).model_dump(mode="json")
        path = tmp_path / name
        path.write_text(_toml(config))
        return cli("label", path, "--local")

    stopped = label("low.toml", max_tokens=500)
    assert stopped.code == 1
    assert "budget.max_tokens = 500 is reached" in stopped.err
    assert "Traceback" not in stopped.err
    ended = label("high.toml", max_tokens=10**9)
    assert ended.code == 0, ended.err
    assert f"LLM: {len(counted_run[1]):,} requests" in ended.out
    assert "Off chance" not in ended.out
    monkeypatch.setattr(compare, "off_chance_sentence", lambda run: "Off chance: a leak.")
    assert "Off chance: a leak." in label("high.toml", max_tokens=10**9).out


def _toml(config: dict[str, Any]) -> str:
    """Tables of plain values, as TOML: what a JSON value is but null."""
    lines = []
    for name, section in config.items():
        is_list = isinstance(section, list)
        for values in section if is_list else [section] if section else []:
            lines.append(f"[[{name}]]" if is_list else f"[{name}]")
            plain = {k: v for k, v in values.items() if v not in (None, {}) and k != "price"}
            lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    return "\n".join(lines)


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


def test_search_finds_words_or_what_is_nearest_in_meaning(
    cli: Cli, quick_run: Run, embedding_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # vectors are kept there
    word = read_run(quick_run.uri).labels()["fires_on"].to_pylist()[0][0].strip()
    found = cli("search", quick_run.uri, word, "fires", "on")
    assert found.code == 0, found.err
    assert f'"{word}"' in found.out
    assert " found" in found.out
    near = cli(
        "search", quick_run.uri, word, "--semantic", "--model", embedding_model, "--limit", "3"
    )
    assert near.code == 0, near.err
    assert len(near.out.splitlines()) == 5
    assert f'"{word}"' in near.out.splitlines()[2]
    assert cli("search", quick_run.uri, "x", "--model", "y").refuses("--semantic")
    missing = cli("search", quick_run.uri, "x", "--semantic", "--model", tmp_path / "none")
    assert missing.refuses("cannot be loaded")


def test_report_is_a_file_that_the_command_names(
    cli: Cli, quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = cli("report", quick_run.uri)
    path = tmp_path / f"{Path(quick_run.uri).name}-report.html"
    assert said.code == 0, said.err
    assert path.name in said.out
    assert path.read_text() == report_file(quick_run.uri)
    assert cli("report", quick_run.uri, "--out", "nowhere/x.html").refuses("nowhere/x.html")
    assert cli("report", tmp_path / "none").code == 2
