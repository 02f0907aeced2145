"""The report of a run: what its scores say of its labels, and what it took to make them.

Each part is read by itself; one that a run has not come to is left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from ray_autointerp.errors import UserError
from ray_autointerp.methods.chance import ChanceTest
from ray_autointerp.methods.paired import Mean
from ray_autointerp.passes.agreement_curve import Point, agreement_curve
from ray_autointerp.reports import compare
from ray_autointerp.reports.agreement_table import ESTIMATORS
from ray_autointerp.reports.bill_table import Bill, bill
from ray_autointerp.reports.label_table import basis
from ray_autointerp.reports.ledger import StepTime, step_times
from ray_autointerp.reports.pool_table import PoolUse, pool_use
from ray_autointerp.reports.run_scores import LABEL, MAIN, RunScores, run_scores
from ray_autointerp.reports.status_table import sentence, status
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.viewer.browse import Histogram, histograms, scatter_plot
from ray_autointerp.viewer.charts import SIZE_X, SIZE_Y, Axis, Scatter
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.query import Query
from ray_autointerp.viewer.sample_labels import Sample, sample_labels
from ray_autointerp.viewer.scores import CHANCE, Score

T = TypeVar("T")

_HAS_CHANCE = ("input_auroc", "output_win_rate", "unseen_win_rate", "detection_auroc")


@dataclass(frozen=True)
class Count:
    """What the config asks for, and what was made."""

    what: str
    asked: float | str | None
    made: float | None


@dataclass(frozen=True)
class Curve:
    """One estimate's agreement against the windows it was made from."""

    name: str
    points: list[tuple[float, float, Point]]
    """Places in the plot, and what lies there."""


@dataclass(frozen=True)
class SaeReport:
    """One SAE of the run."""

    sae: str
    index: LabelIndex
    scores: RunScores | None
    methods: list[tuple[str, list[Score | None], list[float | None]]]
    """By method: the mean of each main score, and Spearman of each against words."""
    chance: list[tuple[str, ChanceTest]]
    samples: list[Sample]
    histograms: list[Histogram]
    plot: Scatter | None
    """Input against output scores, or whatever of both it has."""
    statuses: list[Row]
    curves: list[Curve]
    window_axis: Axis | None
    overlap_axis: Axis
    counts: list[Count]


@dataclass(frozen=True)
class RunReport:
    """Everything that the page shows."""

    sentence: str
    """How far it is, or what its numbers rest on."""
    warning: str
    saes: list[SaeReport]
    bill: Bill | None
    times: list[StepTime]
    pools: list[PoolUse]
    overlap: list[Row]
    is_finished: bool
    main: Sequence[str] = field(default_factory=lambda: [one.title for one in MAIN])


def run_report(tables: Tables, indexes: Mapping[str, LabelIndex]) -> RunReport:
    """Read all parts that are there."""
    run = tables.run
    is_finished = all(index.is_published for index in indexes.values())
    said = _tried(lambda: basis(run)) if is_finished else None
    warning = _tried(lambda: compare.off_chance_sentence(run)) if is_finished else None
    return RunReport(
        said or _tried(lambda: sentence(status(run))) or "",
        warning or "",
        [_sae_report(tables, index) for index in indexes.values()],
        _tried(lambda: bill(run)),
        _tried(lambda: step_times(run)) or [],
        _tried(lambda: pool_use(run)) or [],
        _tried(lambda: tables.read("overlap", None).to_pylist()) or [],
        is_finished,
    )


def _sae_report(tables: Tables, index: LabelIndex) -> SaeReport:
    sae = index.sae
    scores = _tried(lambda: run_scores(tables.run, sae)) if index.is_published else None
    points = _tried(lambda: agreement_curve(tables, sae)) or []
    curves, axis, overlap = _curves([one for one in points if one.strength == "maximum"])
    return SaeReport(
        sae,
        index,
        scores,
        list(_methods(scores)) if scores else [],
        [
            (measure.title, test)
            for measure, name, test in compare.chance_tests(scores)
            if name == compare.ALL
        ]
        if scores
        else [],
        sample_labels(index),
        histograms(index, Query()),
        scatter_plot(index, Query()),
        index.rows(
            "select status, count(*) as n, count(*) filter (where chosen) as chosen from labels "
            "where status is not null group by 1 order by 2 desc"
        ),
        curves,
        axis,
        overlap,
        list(_counts(tables, index)),
    )


def _methods(
    scores: RunScores,
) -> Iterator[tuple[str, list[Score | None], list[float | None]]]:
    """The label first: it is what a reader takes away."""
    lines = {(line.method, line.measure.name): line for line in compare.lines(scores)}
    for method in (LABEL, *scores.run.config.score.methods):
        row = [lines.get((method, measure.name)) for measure in MAIN]
        shown = [
            None if line is None else _mean_score(line.measure.title, line.mean, line.floor)
            for line in row
        ]
        if any(shown):
            yield method, shown, compare.length_correlations(scores, [method])


def _mean_score(title: str, mean: Mean, floor: Mean) -> Score:
    low, high = (mean.interval.low, mean.interval.high) if mean.interval else (None, None)
    said = f"mean over {mean.num_latents:,} latents"
    return Score(title, mean.mean, low, high, CHANCE, floor=floor.mean, means=said)


def _curves(points: Sequence[Point]) -> tuple[list[Curve], Axis | None, Axis]:
    """Overlap with exact TokenChange by number of windows; what has no windows has no curve."""
    counted = [one for one in points if one.num_windows > 0]
    up = Axis(0.0, 1.0, SIZE_Y)
    if not counted:
        return [], None, up
    windows = [one.num_windows for one in counted]
    across = Axis(min(windows) / 1.2, max(windows) * 1.2, SIZE_X, is_log=True)
    curves = [
        Curve(
            name,
            [
                (across.place(one.num_windows), SIZE_Y - up.place(one.overlap), one)
                for one in counted
                if one.estimator == estimator
            ],
        )
        for estimator, name in ESTIMATORS.items()
    ]
    return [curve for curve in curves if curve.points], across, up


def _counts(tables: Tables, index: LabelIndex) -> Iterator[Count]:
    config, sae = tables.run.config, index.sae
    stats = _tried(
        lambda: tables.read("latent_stats", sae, shards=[0], columns=["num_tokens"]).slice(0, 1)
    )
    watched = stats["num_tokens"][0].as_py() if stats is not None and stats.num_rows else None
    yield Count("tokens watched", config.corpus.num_tokens, watched)
    selection = _tried(lambda: list(tables.selection(sae).values()))
    if selection is not None:
        select = config.select
        asked = select.num_latents if select.rule in ("sample", "top") else select.rule
        yield Count("latents described by the LLM", asked, len(selection))
        yield Count("panel", select.panel, sum(row["panel"] for row in selection))
        yield Count("sample for agreement", select.sample, sum(row["sample"] for row in selection))
        yield Count("control sample", select.controls, sum(row["control"] for row in selection))
    score = config.score
    for what, table, column, wanted in (
        (
            "activating sentences a description",
            "input_scores",
            "num_activating",
            score.num_sentences * score.num_draws,
        ),
        ("trials on steered texts", "output_scores", "num_units", score.num_units),
        ("trials on unseen tokens", "unseen_scores", "num_trials", score.num_unseen_trials),
        ("active texts in detection", "detection_scores", "num_active", score.detection_texts),
    ):
        made = _tried(partial(_median, tables, sae, table, column))
        if wanted:
            yield Count(f"{what} (median)", wanted, made)


def _median(tables: Tables, sae: str, table: str, column: str) -> float | None:
    found: list[Any] = []
    for method in tables.run.config.score.methods:
        read = tables.read(table, sae, method, columns=["latent", column])
        found += read[column].drop_null().to_pylist()
    return sorted(found)[len(found) // 2] if found else None


def _tried(read: Callable[[], T]) -> T | None:
    """What is read; None where the run has not come so far, or is too old to have it."""
    try:
        return read()
    except UserError:
        return None
