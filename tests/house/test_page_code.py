"""What the pages say to paste is pasted: Python, SQL and commands, over a small finished run."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest

from ray_autointerp import read_run
from ray_autointerp.cli import main
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.runs.run import Run

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from pages import EXTENSIONS, Block, all_blocks

RUNS = re.compile(r"(?:s3://my-bucket/labels|runs)/(?:demo(?:-\d/demo)?|gemma-2-2b-l12)\b")
S3 = "s3://my-bucket/labels/demo"
READING = (
    *("plan", "status", "labels", "show", "compare", "report", "agreement", "bill", "history"),
    "prune",
)
"""Commands that end by themselves and read any run, or a config."""


def code(language: str) -> list[Block]:
    return [block for block in all_blocks(language) if block.page not in EXTENSIONS]


def python_blocks(*, on_s3: bool) -> list[Block]:
    """Those about a folder, or those about S3 alone."""
    return [block for block in code("python") if on_s3 == ("runs/demo-1" not in block.text)]


@pytest.fixture(scope="module")
def shown(quick_run: Run, planted: PlantedTruth) -> Callable[[str], str]:
    """A page's text about the small run: its place, a latent that an LLM described, its word."""
    rows = read_run(quick_run.uri).labels().to_pylist()
    latent = next(row["latent"] for row in rows if row["chosen"])
    word = planted.triggers[latent]

    def put(text: str) -> str:
        text = RUNS.sub(quick_run.uri, text)
        text = re.sub(r"\b645\b", str(latent), text)
        return re.sub(r"(?<=\\b)time(?=\\b)|\bcourt\b|(?<=contains )time\b", word, text)

    return put


@pytest.fixture
def facts(quick_run: Run, shown: Callable[[str], str]) -> dict[str, Any]:
    """What the questions of the page have as answers, reckoned by plain loops."""
    rows = read_run(quick_run.uri).labels().to_pylist()
    latent, word = int(shown("645")), shown("court")
    both = {
        row["latent"]: (row["input_auroc"] + row["output_win_rate"]) / 2
        for row in rows
        if row["input_auroc"] is not None and row["output_win_rate"] is not None
    }
    return {
        "best": sorted(both.values(), reverse=True),
        "with_word": {row["latent"] for row in rows if f'"{word}"' in row["label"]},
        "unexplained": {row["latent"] for row in rows if (row["keyword_f1"] or 1) < 0.2},
        "dead": [row["latent"] for row in rows if row["is_dead"]],
        "latent": latent,
        "word": word,
        "both": both,
    }


SQL = {
    "best": "(input_auroc + output_win_rate)",
    "with_word": "regexp_matches",
    "unexplained": "keyword_f1 <",
    "examples": "unnest(examples)",
    "by_method": "MACRO",
    "dead": "WHERE is_dead",
}
"""What tells the page's questions apart."""


def asked(question: str) -> Block:
    (block,) = (block for block in code("sql") if SQL[question] in block.text)
    return block


@pytest.fixture
def answers(shown: Callable[[str], str]) -> Callable[[str], list[dict[str, Any]]]:
    """The rows that a question's SQL gives."""

    def run(question: str) -> list[dict[str, Any]]:
        with duckdb.connect() as connection:
            for statement in duckdb.extract_statements(shown(asked(question).text)):
                result = connection.execute(statement)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    return run


def test_sql_answers_what_the_page_asks(
    answers: Callable[[str], list[dict[str, Any]]], facts: dict[str, Any], quick_run: Run
) -> None:
    assert [facts["both"][row["latent"]] for row in answers("best")] == facts["best"][:20]
    assert {row["latent"] for row in answers("with_word")} == facts["with_word"] != set()
    assert {row["latent"] for row in answers("unexplained")} == facts["unexplained"]
    assert {row["latent"] for row in answers("dead")} == set(facts["dead"]) != set()

    examples = answers("examples")
    assert len(examples) == 10
    assert all(f"<<{facts['word']}>>" in row["text"] for row in examples)

    described = answers("by_method")
    scores = read_run(quick_run.uri).scores().to_pylist()
    for score, column in [
        ("input_auroc", "auroc"),
        ("output_win_rate", "win_rate"),
        ("unseen_win_rate", "unseen"),
    ]:
        wanted = {
            row["method"]: row["value"]
            for row in scores
            if (row["latent"], row["score"]) == (facts["latent"], score)
        }
        found = {row["method"]: row[column] for row in described if row[column] is not None}
        assert found == wanted != {}
    assert {"keywords", "ensemble_raw"} <= {row["method"] for row in described}


def test_every_sql_block_is_run_or_is_of_s3() -> None:
    run = {asked(question).place for question in SQL}
    others = [block for block in code("sql") if block.place not in run]
    assert [block.place for block in others if "s3" not in block.text] == []


def test_sql_of_s3_is_sql_and_reads_the_tables(shown: Callable[[str], str]) -> None:
    """DuckDB's extension for S3 comes from the network, so the query is asked of the folder."""
    blocks = [block for block in code("sql") if "s3" in block.text]
    assert len(blocks) == 2
    for block in blocks:
        for statement in duckdb.extract_statements(shown(block.text)):
            if statement.query.lstrip().startswith("SELECT"):
                assert duckdb.connect().execute(statement).fetchall()


def executed(block: Block, text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(text, block.place, "exec"), names)
    return names


@pytest.mark.parametrize("block", python_blocks(on_s3=False), ids=lambda b: b.place)
def test_python_of_the_pages_runs_and_finds_what_it_says(
    block: Block, shown: Callable[[str], str], facts: dict[str, Any], quick_run: Run
) -> None:
    names = executed(block, shown(block.text))
    if "found" in names:
        assert facts["latent"] in names["found"]["latent"].to_pylist()
        assert len(names["frame"]) == names["labels"].num_rows
        return
    assert list(names["dead"]) == facts["dead"]
    assert list(names["best"]["both"])[:5] == pytest.approx(facts["best"][:5])
    assert set(names["with_word"]["latent"]) == facts["with_word"]
    assert set(names["unexplained"]["latent"]) == facts["unexplained"]
    assert len(names["examples"])
    if "described" in names:
        described = names["described"].to_dicts()
        found = {(row["latent"], row["method"]): row["win_rate"] for row in described}
    else:
        found = names["by_method"]["output_win_rate"].dropna().to_dict()
    scores = read_run(quick_run.uri).scores().to_pylist()
    wanted = [row for row in scores if row["score"] == "output_win_rate" and row["value"]]
    assert wanted
    assert {found[row["latent"], row["method"]] for row in wanted} <= {
        row["value"] for row in wanted
    }


@pytest.fixture
def run_on_s3(quick_run: Run, bucket: str, aws_chain: pytest.MonkeyPatch, s3_server: str) -> str:
    """A copy of the small run in a bucket, which polars and Arrow find as boto3 does."""
    aws_chain.setenv("AWS_ENDPOINT_URL", s3_server)
    aws_chain.setenv("AWS_ALLOW_HTTP", "true")
    client = boto3.session.Session().client("s3")
    folder = Path(quick_run.uri)
    for path in folder.rglob("*"):
        if path.is_file() and "answers" not in path.parts:
            client.upload_file(str(path), bucket, f"labels/demo/{path.relative_to(folder)}")
    return f"s3://{bucket}/labels/demo"


@pytest.mark.slow
def test_python_of_s3_reads_the_tables(run_on_s3: str, quick_run: Run) -> None:
    (block,) = python_blocks(on_s3=True)
    names = executed(block, block.text.replace(S3, run_on_s3))
    labels = read_run(quick_run.uri).labels().drop_columns(["sae"])
    assert names["labels"].to_arrow()["label"].to_pylist() == labels["label"].to_pylist()
    assert len(names["frame"]) == labels.num_rows
    assert names["examples"].count_rows() == 2 * labels.num_rows


def reading_lines() -> list[str]:
    """The command lines of the pages that end by themselves, without comment and redirection."""
    found = []
    for block in all_blocks("console"):
        for line in re.findall(r"^\$ ray-autointerp (.*)$", block.text, re.M):
            words = shlex.split(line, comments=True)
            if words[0] in READING:
                found.append(shlex.join(words[: words.index(">")] if ">" in words else words))
    return sorted(set(found))


@pytest.mark.parametrize("line", reading_lines())
def test_reading_command_of_the_pages_ends_well(
    line: str,
    shown: Callable[[str], str],
    planted: PlantedTruth,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    words = [
        str(planted.config) if word == "my.toml" else word for word in shlex.split(shown(line))
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ray-autointerp", *words])
    with pytest.raises(SystemExit) as ended:
        main()
        raise SystemExit(0)
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    assert said.out.strip()
