"""The runs that a run follows: what each took over and made, and the labels of a latent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.table import Table
from rich.text import Text

from ray_autointerp.errors import StoreError
from ray_autointerp.plan.identity import nodes
from ray_autointerp.reports.label_table import label_line, labels
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


def lineage(run: Run) -> Iterator[Run]:
    """The run, its parent, and so on, as far back as they are there."""
    yield run
    while (name := run.config.run.parent) is not None:
        try:
            run = load_run(run.sibling(name))
        except StoreError:
            return
        yield run


@dataclass(frozen=True)
class RunEntry:
    """One run of a history."""

    run: str
    parent: str | None
    num_labels: int
    made: tuple[str, ...]
    """Steps with tables of its own."""
    taken_over: tuple[str, ...]
    """Steps with none, read where an earlier run has them."""


@dataclass(frozen=True)
class LabelVersion:
    """The label that one run gives a latent."""

    run: str
    sae: str
    latent: int
    method: str | None
    made_in: str
    label: str
    """Its text in one line, or why there is none."""


def run_history(run: Run) -> Iterator[RunEntry]:
    """The runs, the newest first."""
    for one in lineage(run):
        inherited: list[str] = []
        made: list[str] = []
        for node in nodes(one.config, one.axes):
            (inherited if node.name in one.inherits else made).append(node.step)
        yield RunEntry(
            one.folder,
            one.config.run.parent,
            sum(_num_labels(one, sae) for sae in one.saes),
            tuple(dict.fromkeys(made)),
            tuple(step for step in dict.fromkeys(inherited) if step not in made),
        )


def history_table(entries: Iterable[RunEntry]) -> Table:
    """A line for each run."""
    shown = _table("run", "parent", "labels", "made", "taken over")
    for one in entries:
        made = "everything" if one.parent is None else ", ".join(one.made)
        shown.add_row(
            one.run, one.parent or "", f"{one.num_labels:,}", made, ", ".join(one.taken_over)
        )
    return shown


def label_versions(run: Run, sae: str, latent: int) -> Iterator[LabelVersion]:
    """The label that each run gives a latent, the newest first. Where a run was matched with its
    parent, the parent's latent is the one that it was matched with.
    """
    for one in lineage(run):
        if sae in one.saes:
            for row in labels(one, sae).filter(pc.field("latent") == latent).to_pylist():
                made_in = row["origin_run"] or one.folder
                yield LabelVersion(one.folder, sae, latent, row["method"], made_in, label_line(row))
        if one.config.is_matched:
            matched = Tables(one).row("matches", sae, [latent])[latent]["earlier_latent"]
            if matched is None:
                return
            sae, latent = one.config.earlier_id(sae), matched


def label_history_table(entries: Iterable[LabelVersion]) -> Table:
    """A line for each label."""
    shown = _table("run", "latent", "method", "made in", "label")
    for one in entries:
        shown.add_row(one.run, str(one.latent), one.method or "", one.made_in, one.label)
    return shown


def _num_labels(run: Run, sae: str) -> int:
    made: pa.Table = labels(run, sae)
    return made.num_rows - made["label"].null_count


def _table(*columns: str) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(Text(column), overflow="fold")
    return shown
