"""The labels of a run as a table for eyes, and as CSV for everything else."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, TextIO

import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ray_autointerp.errors import UserError
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.records.layout import labels_file
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.reports.names import LEGEND, heads_label, is_broad, shown_name
from ray_autointerp.reports.terminal_text import cut, printable
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.parquet import read_table

_SORTS: dict[str, Literal["ascending", "descending"]] = {
    "latent": "ascending",
    "density": "descending",
    "s_in": "descending",
    "s_out": "descending",
    "effect_kl": "descending",
    "keyword_f1": "descending",
    "detection_auroc": "descending",
    "fuzzing_auroc": "descending",
    "input_auroc": "descending",
    "output_win_rate": "descending",
}
SORT_COLUMNS = tuple(_SORTS)

_GAP = "  "

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Characters with which a cell begins that a spreadsheet takes for a formula."""

_NAME = ["name", "name_win_rate", "name_win_rate_low", "name_win_rate_high"]

_TOLD = 0.5
"""F1 of its keywords above which a latent counts as told by its own tokens."""

_LEAST_LABEL = 20
"""Characters a line of a label never goes below, however narrow the terminal."""


@dataclass(frozen=True)
class Filter:
    """Which labels to show; every condition given must hold."""

    described_only: bool = False
    """Chosen latents, and those whose label was carried over from an earlier run."""
    method: str | None = None
    contains: str | None = None
    """A regular expression in the label, case ignored."""
    min_input: float | None = None
    """Least AUROC of the input score."""
    min_output: float | None = None
    """Least win rate of the output score."""


def labels(run: Run, sae: str) -> pa.Table:
    """The published labels: the one file if the run is finished, else the shards that exist."""
    store, schema = Tables(run).store, TABLES["labels"].schema
    if store.exists(labels_file(sae)):
        return read_table(store, labels_file(sae), schema=schema)
    folder = f"{labels_file(sae).removesuffix('.parquet')}/"
    parts = [read_table(store, name, schema=schema) for name in store.list(folder)]
    return pa.concat_tables([schema.empty_table(), *parts])


def filtered(table: pa.Table, only: Filter, sort: str = "latent") -> pa.Table:
    """The rows that pass, sorted; rows without a score come last. Raises UserError."""
    conditions: list[pc.Expression] = []
    if only.described_only:
        conditions.append(pc.field("chosen") | pc.field("origin_run").is_valid())
    if only.method:
        conditions.append(pc.field("method") == only.method)
    if only.min_input is not None:
        conditions.append(pc.field("input_auroc") >= only.min_input)
    if only.min_output is not None:
        conditions.append(pc.field("output_win_rate") >= only.min_output)
    for condition in conditions:
        table = table.filter(condition)
    if only.contains:
        pattern = _pattern(only.contains)
        texts = table["label"].to_pylist()
        table = table.filter(pa.array([bool(text and pattern.search(text)) for text in texts]))
    return table.sort_by([(sort, _SORTS[sort]), ("latent", "ascending")])


@dataclass(frozen=True)
class LabelLines:
    """One line per latent: its label, behind its name where that is to be trusted, cut to what
    fits, what it fires on, and what it promotes; first its cosine, where it was searched by that.
    """

    table: pa.Table
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Each column has half of what is left, or more where those after it need less."""
        rows = self.table.to_pylist()
        titles = ("latent", "label", "fires on", "promotes")
        if "similarity" in self.table.column_names:
            titles = ("cosine  latent", *titles[1:])
        columns = list(zip(titles, *map(_cells, rows), strict=True))
        widest = [max(map(cell_len, column)) for column in columns]
        lines = [Text(latent.rjust(widest[0])) for latent in columns[0]]
        used = widest[0]
        for number, column in enumerate(columns[1:], start=1):
            later = sum(len(_GAP) + width for width in widest[number + 1 :])
            left = options.max_width - used - len(_GAP)
            room = max(left // 2, left - later) if later else left
            cells = [cut(Text(text), room) for text in column]
            for line, cell in zip(lines, cells, strict=True):
                line.append(" " * (used - cell_len(line.plain))).append(_GAP).append_text(cell)
            used = max(cell_len(line.plain) for line in lines)
        lines[0].stylize("bold")
        yield cut(Text(printable(self.title), style="italic"), options.max_width)
        for line in lines:
            line.rstrip()
            yield line
        if any(heads_label(row) and is_broad(row) for row in rows):
            yield Text(LEGEND, style="dim")


def _cells(row: Row) -> tuple[str, str, str, str]:
    label = label_line(row)
    if heads_label(row):
        label = f"{shown_name(row)}; {label.removeprefix(printable(row['name']) + '; ')}"
    latent = str(row["latent"])
    if "similarity" in row:
        latent = f"{row['similarity']:6.2f}  {latent:>6}"
    return latent, label, _joined(row["fires_on"]), _joined(row["promotes"])


def label_line(row: Row) -> str:
    """The label of a row of `labels` in one line, or its status."""
    return printable("; ".join(_label(row).splitlines()))


def _label(row: Row) -> str:
    return row["label"] or f"({row['status']})"


def _joined(tokens: Sequence[str] | None) -> str:
    """Tokens without the space that they begin with, each once."""
    return ", ".join(dict.fromkeys(printable(token.strip() or token) for token in tokens or ()))


def wide_label_table(table: pa.Table, title: str) -> Table:
    """A Rich table: the whole label, what it fires on beneath, method, density, scores."""
    shown = Table(
        title=Text(printable(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    shown.add_column("latent", justify="right", no_wrap=True)
    shown.add_column("label", overflow="fold", min_width=_LEAST_LABEL)
    shown.add_column("method", no_wrap=True)
    shown.add_column("density", justify="right", no_wrap=True)
    shown.add_column("input\nAUROC", justify="right")
    shown.add_column("output\nwin rate", justify="right")
    for row in table.to_pylist():
        label = Text("\n".join(map(printable, _label(row).splitlines())))
        if row["fires_on"] and row["method"] != "keywords":  # which say so themselves
            label.append(f"\nfires on {_joined(row['fires_on'])}", style="dim")
        if row["name"]:
            label.append(f"\nname: {shown_name(row)}", style="dim")
        shown.add_row(
            str(row["latent"]),
            label,
            row["method"] or "",
            f"{100 * row['density']:.2f} %" if row["density"] is not None else "",
            _number(row["input_auroc"]),
            _rate(row),
        )
    return shown


def basis(run: Run) -> str:
    """What the numbers of a run rest on, in a few sentences: from how little, or how much."""
    config, score = run.config, run.config.score
    tables = Tables(run)
    copied = next(
        row for row in tables.read("overlap", None).to_pylist() if row["split"] == "score"
    )
    chosen = sum(tables.selected(sae).num_chosen for sae in run.saes)
    num_carried = sum(len(tables.carried(sae)) for sae in run.saes)
    carried = f", {num_carried:,} keep the labels of earlier runs" if num_carried else ""
    latents = sum(len(r) for r in run.axes.latents.values())
    return (
        f"{latents:,} latents watched on about {config.corpus.num_tokens:,} tokens, {chosen:,} of "
        f"them described by the LLM{carried}; each description scored with {score.num_sentences} + "
        f"{score.num_sentences} sentences in {score.num_draws} answer(s) and {score.num_units} "
        f"trials on sets of {score.texts_per_set} steered texts. No document is on both sides of "
        f"the split; {copied['num_overlapping']:,} of {copied['num_windows']:,} score-side windows "
        f"share 13 tokens in a row with the explain side. {_told_by_tokens(tables)}"
        f"{_broad_names(run)}{_known_answers(tables)}"
    )


def _broad_names(run: Run) -> str:
    """How many names are too broad, in one sentence; nothing where they were not scored."""
    rows = [
        row
        for sae in run.saes
        for row in labels(run, sae).select(_NAME).to_pylist()
        if row["name"] and row["name_win_rate"] is not None
    ]
    if not rows:
        return ""
    return (
        f" Of {len(rows):,} names {sum(map(is_broad, rows)):,} are too broad to be shown to tell "
        "their latents from others."
    )


def _known_answers(tables: Tables) -> str:
    """How the judge did on questions with known answers, in one sentence; nothing if not asked."""
    if "judge_check" not in tables.run.steps:
        return ""
    rows = [
        row
        for step in methods_of(step_named("judge_check"), tables.run.config)
        for row in tables.read("judge_check", None, step).to_pylist()
        if row["status"] == "ok"
    ]
    if not rows:
        return ""
    num_right = sum(row["log_odds"] > 0 for row in rows)
    right = f" The judge had {num_right} of {len(rows)} questions with known answers right"
    allowed = [row["allowed"] for row in rows if row["allowed"] is not None]
    if not allowed:
        return f"{right}, by likelihood."
    return f"{right}; the allowed answers hold {fmean(allowed):.0%} of its probability."


def _told_by_tokens(tables: Tables) -> str:
    """How many latents need no more than their keywords, in one sentence."""
    num_alive = num_told = num_silent = 0
    for sae in tables.run.saes:
        stats = tables.read("latent_stats", sae, columns=["is_dead"])
        # Both tables have a row for every latent, in order.
        scores = tables.read("keyword_scores", sae, columns=["status", "f1"])
        alive = scores.filter(pc.invert(stats["is_dead"]))
        num_alive += alive.num_rows
        num_told += alive.filter(pc.field("f1") > _TOLD).num_rows
        num_silent += alive.filter(pc.field("status") == "too_few_firings").num_rows
    share = num_told / max(num_alive, 1)
    return (
        f"Of {num_alive:,} alive latents {share:.0%} are told by their own tokens (held-out F1 "
        f"above {_TOLD}); {num_silent:,} fire there too seldom to say."
    )


def write_csv(table: pa.Table, stream: TextIO) -> None:
    """All columns; lists are joined by ` | `, nulls are empty. An apostrophe stands before what a
    spreadsheet would run as a formula, and makes it text there.
    """
    writer = csv.writer(stream)
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_cell(value) for value in row.values()])


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise UserError(f"--contains `{text}` is no regular expression: {error}.") from error


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, Sequence):
        text = value if isinstance(value, str) else " | ".join(map(str, value))
        return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    return value


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _rate(row: dict[str, float | None]) -> str:
    rate, low, high = (row[f"output_win_rate{end}"] for end in ("", "_low", "_high"))
    if rate is None:
        return ""
    return f"{rate:.2f}" if low is None or high is None else f"{rate:.2f}\n{low:.2f}-{high:.2f}"
