"""The runs that a run follows: what each took over and made, and the labels of a latent."""

from collections.abc import Iterator
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


def history_table(run: Run) -> Table:
    """A line for each run, the newest first."""
    shown = _table("run", "parent", "labels", "made", "taken over")
    for one in lineage(run):
        inherited: list[str] = []
        made: list[str] = []
        for node in nodes(one.config, one.axes):
            (inherited if node.name in one.inherits else made).append(node.step)
        shown.add_row(
            one.folder,
            one.config.run.parent or "",
            f"{sum(_num_labels(one, sae) for sae in one.saes):,}",
            ", ".join(dict.fromkeys(made)) if inherited else "everything",
            ", ".join(step for step in dict.fromkeys(inherited) if step not in made),
        )
    return shown


@dataclass(frozen=True)
class LabelVersion:
    """The label that one run gives a latent."""

    run: str
    latent: int
    method: str
    made_in: str
    label: str


def label_versions(run: Run, sae: str, latent: int) -> Iterator[LabelVersion]:
    """The label that each run gives a latent, the newest first. Where a run was matched with its
    parent, the parent's latent is the one that it was matched with.
    """
    for one in lineage(run):
        if sae in one.saes:
            for row in labels(one, sae).filter(pc.field("latent") == latent).to_pylist():
                made_in = row["origin_run"] or one.folder
                yield LabelVersion(
                    one.folder, latent, row["method"] or "", made_in, label_line(row)
                )
        if one.config.is_matched:
            matched = Tables(one).row("matches", sae, [latent])[latent]["earlier_latent"]
            if matched is None:
                return
            sae, latent = one.config.earlier_id(sae), matched


def label_history(run: Run, sae: str, latent: int) -> Table:
    """The same for eyes."""
    shown = _table("run", "latent", "method", "made in", "label")
    for one in label_versions(run, sae, latent):
        shown.add_row(one.run, str(one.latent), one.method, one.made_in, one.label)
    return shown


def _num_labels(run: Run, sae: str) -> int:
    made: pa.Table = labels(run, sae)
    return made.num_rows - made["label"].null_count


def _table(*columns: str) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(Text(column), overflow="fold")
    return shown
