"""What became of an SAE's latents since the parent run: the same, new and lost ones, labels."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from ray_autointerp.errors import UserError
from ray_autointerp.reports.label_table import Filter, filtered, labels
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Lower ends of bins of cosine; those below the run's own threshold are empty and left out."""


_WHY = {
    "label": "had no label that was scored on sentences",
    "cosine": "have too low a cosine",
    "correlation": "fire too differently",
    "score": "have a label that scored too low",
    "age": "have a label that is too old",
    "overlap": "promote too many other tokens",
    "sentences": "fire too little on the sentences of their label",
}


@dataclass(frozen=True)
class Changed:
    """One latent that has a label in both runs."""

    latent: int
    earlier_latent: int
    cosine: float
    correlation: float | None
    label: str
    earlier_label: str


@dataclass(frozen=True)
class MatchSummary:
    """The matches of one SAE."""

    sae: str
    earlier: str
    """The parent run's folder, and its SAE."""
    matches: pa.Table
    num_earlier: int
    num_lost: int
    changed: tuple[Changed, ...]
    """Latents whose labels differ, the least like their earlier selves first."""
    num_labelled: int
    """Matched latents that an LLM was asked about in both runs, or whose label was carried over."""
    checks: Counter[str | None]
    """Of carry-over, latents by the check that they failed, None for those that passed; empty where
    no label may be carried over."""
    num_carried: int
    """Latents that keep their label: those that passed and that the rule of selection takes, but
    for the panel and the sample."""

    @property
    def num_matched(self) -> int:
        """Latents that have an earlier self."""
        return self.matches.num_rows - self.matches["earlier_latent"].null_count


def match_summary(run: Run, sae: str) -> MatchSummary:
    """Read the matches of a run. Raises UserError where it has none."""
    if not run.config.is_matched:
        raise UserError(
            f"The run {run.uri} matches no latents: give its config a run.parent and a [match]."
        )
    tables = Tables(run)
    assert run.config.run.parent is not None
    parent, earlier = load_run(run.sibling(run.config.run.parent)), run.config.earlier_id(sae)
    matches, metadata = tables.read("matches", sae), tables.metadata("matches", sae, 0)
    columns = ["latent", "chosen", "origin_run", "label"]
    checks: Counter[str | None] = Counter()
    if run.config.carries_over:
        checks.update(tables.read("carry_checks", sae)["failed_check"].to_pylist())
    new = _by_latent(labels(run, sae).select(columns))
    old = _by_latent(labels(parent, earlier).select(columns))
    both = [
        Changed(
            row["latent"],
            row["earlier_latent"],
            row["cosine"],
            row["correlation"],
            new[row["latent"]],
            old[row["earlier_latent"]],
        )
        for row in matches.to_pylist()
        if row["latent"] in new and row["earlier_latent"] in old
    ]
    changed = sorted(
        (one for one in both if one.label != one.earlier_label), key=lambda one: one.cosine
    )
    return MatchSummary(
        sae,
        f"{earlier} of {parent.folder}",
        matches,
        int(metadata["num_earlier"]),
        int(metadata["num_lost"]),
        tuple(changed),
        len(both),
        checks,
        len(tables.carried(sae)),
    )


def match_tables(of: MatchSummary, limit: int) -> Iterator[Table | str]:
    """The same for eyes; at most `limit` labels that differ."""
    total = of.matches.num_rows
    yield (
        f"{of.sae}: {of.num_matched:,} of {total:,} latents are latents of {of.earlier} "
        f"({of.num_matched / max(1, total):.1%}); {total - of.num_matched:,} are new, "
        f"{of.num_lost:,} of {of.num_earlier:,} are lost."
    )
    yield _by_cosine(of)
    if of.checks:
        yield _carried(of)
    yield (
        f"Of {of.num_labelled:,} matched latents that have a label in both runs, "
        f"{len(of.changed):,} have another label."
    )
    if of.changed and limit:
        yield _labels(of.changed[:limit])


def _carried(of: MatchSummary) -> str:
    failed = {name: number for name, number in of.checks.items() if name not in (None, "match")}
    reasons = ", ".join(
        f"{number:,} {_WHY[name]}" for name, number in sorted(failed.items(), key=lambda i: -i[1])
    )
    sentence = (
        f"{of.num_carried:,} latents keep their label; {of.checks[None]:,} passed every check"
    )
    return f"{sentence}. Of the other matched ones: {reasons}." if reasons else f"{sentence}."


def _by_cosine(of: MatchSummary) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("cosine")
    for name in ("latents", "median correlation", "median promoted overlap"):
        table.add_column(name, justify="right")
    cosines_L = of.matches["cosine"].to_numpy()
    for low, high in zip(BINS, (*BINS[1:], 1.01), strict=True):
        inside = of.matches.filter(pa.array((cosines_L >= low) & (cosines_L < high)))
        if inside.num_rows:
            medians = (_median(inside[name]) for name in ("correlation", "promoted_overlap"))
            table.add_row(f"{low} to {min(high, 1)}", f"{inside.num_rows:,}", *medians)
    return table


def _labels(changed: tuple[Changed, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("latent", "was", "cosine", "correlation"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("label before, and now", ratio=1)
    for one in changed:
        correlation = "" if one.correlation is None else f"{one.correlation:.2f}"
        numbers = (str(one.latent), str(one.earlier_latent), f"{one.cosine:.2f}", correlation)
        table.add_row(*numbers, f"{one.earlier_label}\n{one.label}")
    return table


def _median(column: "pa.ChunkedArray[Any]") -> str:
    known = column.drop_null()
    return f"{pc.quantile(known, 0.5)[0].as_py():.2f}" if len(known) else ""


def _by_latent(table: pa.Table) -> dict[int, str]:
    """The labels of latents that an LLM was asked about, here or where the label was made."""
    described = filtered(table, Filter(described_only=True))
    return {row["latent"]: row["label"] for row in described.to_pylist() if row["label"]}
