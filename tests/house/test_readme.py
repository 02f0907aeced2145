"""The README against the code: its flow table, commands, columns, paths and config.

`python tests/house/test_readme.py` prints the flow table that the README must hold.
"""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from ray_autointerp.cli import app
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.evidence import DESCRIPTION_METHODS, MAP_READS, control_text_reads
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.step import Read, Step
from ray_autointerp.records.schemas import TABLES

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"\bray-autointerp\s+([a-z][a-z-]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_PER_METHOD = {table for step in FLOW if step.methods != "none" for table in step.writes}


def flow_table() -> str:
    """The steps of plan/flow.py as the README's Markdown table."""
    rows = [("step", "reads", "writes", "scope", "split by", "pool"), ("---",) * 6]
    for step in FLOW:
        nothing = "text" if step.scope == "corpus" else "weights"
        split = "token shard" if step.split == "token" else step.split
        reads = ", ".join(_read(read, step) for read in step.reads) or nothing
        more = {
            "explained": "the method's evidence",
            "modes": "the mode's evidence",
            "revivals": "the source's list of tokens or `sentences/<method>`",
            "shuffled": "the panel's `descriptions/<method>`",
        }
        if step.methods in more:
            reads = f"{more[step.methods]}, {reads}"
        if step.methods == "maps":
            tables = sorted({table for tables in MAP_READS.values() for table in tables})
            reads += "; for its own map " + ", ".join(f"`{table}`" for table in tables)
        if step.method_reads is control_text_reads:
            reads += "; of the control sample `control_texts/<kind>`"
        writes = ", ".join(_shown(table, step) for table in step.writes)
        rows.append((step.name, reads, writes, step.scope, split, step.pool))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _read(read: Read, step: Step) -> str:
    return f"`{read.table}/{read.method}`" if read.method else _shown(read.table, step)


def _shown(table: str, step: Step) -> str:
    if table not in _PER_METHOD:
        return f"`{table}`"
    own = {
        "keywords": "keywords",
        "maps": "<map>",
        "modes": "<mode>",
        "revivals": "<source>",
        "shuffled": "<method>.shuffled",
        "control_texts": "<kind>",
    }
    made = {"token_change": "modes", "revivals": "revivals"}
    kind = made.get(table, step.methods)
    return f"`{table}/{own.get(kind, '<method>')}`"


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_flow_table_is_the_flow(readme: str) -> None:
    lines = readme.splitlines()
    wanted = flow_table().splitlines()
    assert wanted[0] in lines, f"the README lacks its flow table:\n{flow_table()}"
    start = lines.index(wanted[0])
    table = "\n".join(lines[start : start + len(wanted)])
    assert table == flow_table(), f"the README's flow table should be:\n{flow_table()}"
    assert not lines[start + len(wanted)].startswith("|"), (
        "the README has steps that the flow lacks"
    )


def usages(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each command a line names, with the options that the line gives it."""
    for line in text.replace("\\\n", " ").splitlines():
        named = COMMAND.findall(line)
        for command in named:
            yield command, set(OPTION.findall(line)) if len(named) == 1 else set()


def unknown_usages(text: str) -> list[str]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    unknown = []
    for command, options in usages(text):
        if command not in commands:
            unknown.append(command)
            continue
        known = {name for p in commands[command].params for name in (*p.opts, *p.secondary_opts)}
        unknown += [f"{command} {option}" for option in sorted(options - known)]
    return unknown


def tracked(*patterns: str) -> list[Path]:
    named = subprocess.run(
        ["git", "ls-files", "--cached", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in named.splitlines() if (ROOT / name).exists()]


def test_commands_that_the_pages_name_exist_with_their_options(readme: str) -> None:
    assert {command for command, _ in usages(readme)} >= {"plan", "label", "labels", "show"}
    assert unknown_usages(readme) == []
    pages = tracked("jobs", "cluster.yaml", "ray_autointerp/cli.py")
    assert {page.name: unknown_usages(page.read_text()) for page in pages if is_text(page)} == {
        page.name: [] for page in pages if is_text(page)
    }


def is_text(path: Path) -> bool:
    return path.suffix in {".md", ".sh", ".py", ".toml", ".yaml", ".txt"}


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("| `ray-autointerp lable CONFIG` |", ["lable"]),
        ("ray-autointerp label x.toml --root a --fast", ["label --fast"]),
        ("ray-autointerp label x.toml \\\n  --no-local --slow", ["label --slow"]),
        ("ray-autointerp plan and `ray-autointerp label` share --root", []),
    ],
)
def test_unknown_command_or_option_is_seen(line: str, unknown: list[str]) -> None:
    assert unknown_usages(line) == unknown


def test_paths_that_the_readme_links_or_runs_exist(readme: str) -> None:
    linked = re.findall(r"\]\((?!https?://|#)([^)#]+)", readme)
    run = re.findall(r"\b((?:jobs|tests|ray_autointerp)/[\w./-]*\w)", readme)
    assert linked
    assert [name for name in {*linked, *run} if not (ROOT / name).exists()] == []


def test_readmes_config_is_one(readme: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", readme, re.S)
    assert blocks
    for block in blocks:
        parse_config(tomllib.loads(block), ROOT / "readme.toml")


def test_columns_that_the_readme_explains_are_those_of_the_labels(readme: str) -> None:
    rows = re.findall(r"^\| ((?:`\w+`[^|]*)) \|", readme, re.M)
    named = {name for row in rows for name in re.findall(r"`([a-z]\w*)`", row)}
    columns = set(TABLES["labels"].schema.names)
    assert {"label", "density", "output_win_rate"} <= named, "the README explains no columns"
    assert named - columns == set()


def test_every_description_method_is_in_the_readme(readme: str) -> None:
    assert [method for method in DESCRIPTION_METHODS if f"`{method}`" not in readme] == []


def test_demo_settings_that_the_readme_quotes_are_the_demos(readme: str) -> None:
    quoted = re.findall(r"\| `(\w+ = [\d_]+)` \| `", readme)
    demo = (ROOT / "jobs" / "demo" / "demo.toml").read_text()
    assert quoted
    assert [line for line in quoted if not re.search(rf"^{line}\b", demo, re.M)] == []


if __name__ == "__main__":
    print(flow_table())
