"""README and pages against the code: flow table, commands, columns, paths, links and configs.

`python tests/house/test_pages.py` prints the flow table that methods/README.md must hold.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.evidence import DESCRIPTION_METHODS, MAP_READS, control_text_reads
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.step import Read, Step
from ray_autointerp.records.schemas import TABLES

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from cli_commands import COMMANDS
from pages import EXTENSIONS, PAGES, README, ROOT, Block, all_blocks, anchors, blocks_of, text_of

FLOW_PAGE = "ray_autointerp/methods/README.md"
COLUMNS_PAGE = "ray_autointerp/reports/README.md"
CONFIG_PAGE = "jobs/configs/README.md"
LONGEST_LINE = 120
"""Characters of a line that is no table's and no file's."""

COMMAND = re.compile(r"\bray-autointerp\s+([a-z][a-z-]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_PER_METHOD = {table for step in FLOW if step.methods != "none" for table in step.writes}


def flow_table() -> str:
    """The steps of plan/flow.py as the page's Markdown table."""
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


def test_flow_table_is_the_flow() -> None:
    lines = text_of(FLOW_PAGE).splitlines()
    wanted = flow_table().splitlines()
    assert wanted[0] in lines, f"{FLOW_PAGE} lacks the flow table:\n{flow_table()}"
    start = lines.index(wanted[0])
    table = "\n".join(lines[start : start + len(wanted)])
    assert table == flow_table(), f"the flow table in {FLOW_PAGE} should be:\n{flow_table()}"
    assert not lines[start + len(wanted)].startswith("|"), "the page has steps that the flow lacks"


def usages(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each command a line names, with the options that the line gives it."""
    for line in text.replace("\\\n", " ").splitlines():
        named = COMMAND.findall(line)
        for command in named:
            yield command, set(OPTION.findall(line)) if len(named) == 1 else set()


def unknown_usages(text: str) -> list[str]:
    unknown = []
    for command, options in usages(text):
        if command not in COMMANDS:
            unknown.append(command)
            continue
        known = {name for p in COMMANDS[command].params for name in (*p.opts, *p.secondary_opts)}
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


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_exist_with_their_options(page: str) -> None:
    assert unknown_usages(text_of(page)) == []


def test_commands_that_files_name_exist_with_their_options() -> None:
    files = tracked("jobs", "cluster.yaml", "ray_autointerp/cli.py")
    assert {file.name: unknown_usages(file.read_text()) for file in files if is_text(file)} == {
        file.name: [] for file in files if is_text(file)
    }


def test_readme_has_every_command() -> None:
    rows = re.findall(r"^\| `ray-autointerp .*$", text_of(README), re.M)
    named = [command for row in rows for command in COMMAND.findall(row)]
    assert sorted(named) == sorted(COMMANDS)


def console_lines() -> list[tuple[Block, list[str]]]:
    """The words of every `$ ray-autointerp` line, after the name; comments and files left out."""
    found = []
    for block in all_blocks("console"):
        for line in re.findall(r"^\$ ray-autointerp (.*)$", block.text, re.M):
            words = shlex.split(line, comments=True)
            found.append((block, words[: words.index(">")] if ">" in words else words))
    return found


@pytest.mark.parametrize(
    ("block", "words"), [(b, w) for b, w in console_lines()], ids=lambda part: str(part)[:40]
)
def test_console_line_is_one_that_the_command_line_takes(block: Block, words: list[str]) -> None:
    with COMMANDS[words[0]].make_context(words[0], words[1:]) as context:
        assert context.params, block.place


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


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    lost = []
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text_of(page)):
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        if not path.exists() or anchor and anchor not in anchors(str(path.relative_to(ROOT))):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_that_a_page_names_exist(page: str) -> None:
    text = text_of(page)
    named = set(re.findall(r"(?<![\w./-])((?:jobs|tests|ray_autointerp)/[\w./-]*\w)", text))
    made = {block.file for block in blocks_of(page)}
    assert [name for name in named - made if not (ROOT / name).exists()] == []


def test_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", text_of(README)))
    assert [page for page in PAGES if page != README and page not in linked] == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short_but_in_tables(page: str) -> None:
    text = text_of(page)
    for block in blocks_of(page):
        if block.file is not None:
            text = text.replace(block.text, "")
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > LONGEST_LINE] == []


def config_blocks() -> list[Block]:
    return [block for block in all_blocks("toml") if block.page not in EXTENSIONS]


@pytest.mark.parametrize("block", config_blocks(), ids=lambda block: block.place)
def test_config_block_is_one_or_a_part_of_one(block: Block) -> None:
    """A part is put over the README's whole config; a table of an SAE beside its own."""
    part = tomllib.loads(block.text)
    (whole,) = (tomllib.loads(own.text) for own in blocks_of(README, "toml"))
    parse_config(merged(whole, part), ROOT / "page.toml")


def merged(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(whole)
    for name, values in part.items():
        if isinstance(values, list):
            ids = {one["id"] for one in values}
            made[name] = [*values, *(one for one in made.get(name, ()) if one["id"] not in ids)]
        else:
            made[name] = {**made.get(name, {}), **values}
    return made


def test_columns_that_the_page_explains_are_those_of_the_labels() -> None:
    text = text_of(COLUMNS_PAGE)
    table = text[text.index("| column | meaning |") :].partition("\n\n")[0]
    rows = re.findall(r"^\| ((?:`\w+`[^|]*)) \|", table, re.M)
    named = {name for row in rows for name in re.findall(r"`([a-z]\w*)`", row)}
    columns = set(TABLES["labels"].schema.names)
    assert {"label", "density", "output_win_rate"} <= named, "the page explains no columns"
    assert named - columns == set()
    prefixes = tuple(f"{name}_" for name in named)
    unexplained = {name for name in columns - named if not name.startswith(prefixes)}
    assert unexplained == set()


def test_every_description_method_is_on_the_page() -> None:
    text = text_of(FLOW_PAGE)
    assert [method for method in DESCRIPTION_METHODS if f"`{method}`" not in text] == []


def test_demo_settings_that_the_page_quotes_are_the_demos() -> None:
    quoted = re.findall(r"\| `(\w+ = [\d_]+)` \| `", text_of(CONFIG_PAGE))
    demo = (ROOT / "jobs" / "demo" / "demo.toml").read_text()
    assert len(quoted) > 4
    assert [line for line in quoted if not re.search(rf"^{line}\b", demo, re.M)] == []


def test_ready_configs_are_on_the_page() -> None:
    text = text_of(CONFIG_PAGE)
    ready = sorted(path.name for path in (ROOT / "jobs" / "configs").glob("*.toml"))
    assert ready and [name for name in ready if f"({name})" not in text] == []


if __name__ == "__main__":
    print(flow_table())
