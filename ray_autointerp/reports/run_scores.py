"""The scores of an SAE as reports compare them: by method, its control, and the published label."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.errors import UserError
from ray_autointerp.methods.paired import Scores
from ray_autointerp.passes.nearest import nearest
from ray_autointerp.passes.revivals import revivals
from ray_autointerp.plan.controls import NEIGHBOUR, shuffled
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.reads import producer_of
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.records.layout import labels_file
from ray_autointerp.records.status import CASES
from ray_autointerp.reports.label_table import labels
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

LABEL = "label"
"""The row of the published label: of each latent, the method that was chosen for it."""
_FAILURES = [status for status, case in CASES.items() if case.counts_as_failure]
WORDS = "words"
"""The length of descriptions, read as a score is."""


@dataclass(frozen=True)
class Measure:
    """A score of a description: a column of a table per method."""

    name: str
    title: str
    table: str
    column: str
    trials: str | None = None
    """Of a forced choice, the column with the number of its trials."""


MEASURES = (
    Measure("input_auroc", "input AUROC", "input_scores", "auroc"),
    Measure("input_auprc", "input AUPRC", "input_scores", "average_precision"),
    Measure(
        "input_difference_over_max",
        "input difference over maximum",
        "input_scores",
        "difference_over_max",
    ),
    Measure("input_hit_rate", "input hit rate", "input_scores", "hit_rate"),
    Measure("input_paper_success", "input, paper's success", "input_scores", "paper_success"),
    Measure("output_win_rate", "output win rate", "output_scores", "win_rate", "num_units"),
    Measure(
        "output_word_overlap",
        "output win rate by word overlap",
        "output_scores",
        "word_overlap_win_rate",
    ),
    Measure("output_three_set", "output, three sets", "output_scores", "three_set_success"),
    Measure("unseen_win_rate", "unseen win rate", "unseen_scores", "win_rate", "num_trials"),
    Measure(
        "unseen_word_overlap",
        "unseen win rate by word overlap",
        "unseen_scores",
        "word_overlap_win_rate",
    ),
    Measure(
        "intervention_surprisal", "intervention surprisal, nats", "surprisal_scores", "difference"
    ),
    Measure(
        "intervention_surprisal_per_token",
        "intervention surprisal, nats a token",
        "surprisal_scores",
        "difference_per_token",
    ),
    Measure("detection_auroc", "detection AUROC", "detection_scores", "auroc"),
    Measure("detection_auprc", "detection AUPRC", "detection_scores", "average_precision"),
    Measure("detection_near_miss_auroc", "near-miss AUROC", "detection_scores", "near_miss_auroc"),
    Measure("fuzzing_auroc", "fuzzing AUROC", "fuzzing_scores", "auroc"),
)
KEYWORD_F1 = Measure("keyword_f1", "keyword F1 (every latent)", "keyword_scores", "f1")
"""Of `keywords` alone, over all latents; its floor stands in the same table."""

MAIN = tuple(
    measure
    for measure in MEASURES
    if measure.name in ("input_auroc", "output_win_rate", "unseen_win_rate", "detection_auroc")
)


@dataclass(frozen=True)
class ControlTrials:
    """Trials of one method with one kind of control text."""

    wins: Scores
    """By latent, the share in which its description speaks more for the target's text than a
    stranger's does; chance 0.5 where no latent made that text."""
    picks: Scores
    """By latent, the share in which the judge takes the target's text for the description's. It has
    no chance level, but with a text of no latent near 0 or 1 the judge likes or dislikes such text,
    which no win rate counts."""
    num_trials: int


@dataclass(frozen=True)
class RunScores:
    """One SAE of a run."""

    run: Run
    sae: str
    found: Mapping[tuple[str, str], Scores]
    """By variant (a method, its control, or the label's) and measure; also WORDS."""
    trials: Mapping[tuple[str, str], int]
    """By variant and forced choice: trials in all."""
    controls: Mapping[tuple[str, str], ControlTrials]
    """By kind of control text and method."""
    median_cosine: float | None
    """Of the control sample's decoder rows and their nearest; null without a sample."""
    statuses: Mapping[tuple[str, str], Counter[str]]
    """By variant and table: chosen latents by status."""
    num_failed: Mapping[tuple[str, str], int]
    """By method and measure: latents without the score whose own status, or their description's,
    counts as a failure (records/status.py)."""
    chosen: npt.NDArray[np.int64]
    """Latents described by an LLM, ascending."""
    num_controls: int
    """How many of them are also scored with another's description."""
    num_carried: int
    """Latents beside them that keep the label of an earlier run, and that run's scores."""
    dead: npt.NDArray[np.int64]
    """The dead ones among them."""
    revivals: Mapping[int, Mapping[str, Row]]
    """By dead latent and source, rows of `revivals`."""
    density: Scores
    """Of those that are alive."""

    @property
    def methods(self) -> Sequence[str]:
        """The scored ones in the config's order, and the label."""
        return (*self.run.config.score.methods, LABEL)

    @property
    def hook_point(self) -> str:
        """Where the SAE writes."""
        return self.run.axes.hook_points[self.sae]

    def get(self, method: str, measure: str) -> Scores:
        """The scores of a variant; of no latent where there are none."""
        return self.found.get((method, measure), _NONE)

    def lines(self) -> Iterator[tuple[str, Measure]]:
        """Every measure that was made, with the methods that have it."""
        for measure in (*MEASURES, KEYWORD_F1):
            for method in dict.fromkeys((*self.methods, "keywords")):
                if len(self.get(method, measure.name).latents_N):
                    yield method, measure


_NONE = Scores(np.zeros(0, np.int64), np.zeros(0))


def run_scores(run: Run, sae: str) -> RunScores:
    """Read the finished tables of an SAE. Raises UserError while its labels are not published."""
    tables = Tables(run)
    if not tables.store.exists(labels_file(sae)):
        raise UserError(
            f"The labels of {sae} in {run.uri} are not published: end the run with "
            "`ray-autointerp label` first."
        )
    chosen = sorted(tables.selection(sae))
    found: dict[tuple[str, str], Scores] = {}
    trials: dict[tuple[str, str], int] = {}
    statuses: dict[tuple[str, str], Counter[str]] = {}
    num_failed: dict[tuple[str, str], int] = {}
    undescribed: dict[str, Sequence[int]] = {}
    for method in run.config.score.methods:
        columns = ["latent", "status", "description"]
        rows = tables.of_latents("descriptions", sae, chosen, method, columns=columns)
        undescribed[method] = _failed(rows)
        rows = rows.filter(pc.field("status") == "ok")
        words = [len(str(text).split()) for text in rows["description"].to_pylist()]
        found[method, WORDS] = _scores(rows.append_column(WORDS, pa.array(words)), WORDS)
    for name in dict.fromkeys(measure.table for measure in MEASURES):
        measures = [measure for measure in MEASURES if measure.table == name]
        counts = [measure.trials for measure in measures if measure.trials]
        columns = ["latent", "status", *(measure.column for measure in measures), *counts]
        for variant in methods_of(producer_of(name, None), run.config):
            assert variant is not None
            table = tables.read(name, sae, variant, columns=columns)
            statuses[variant, name] = Counter(map(str, table["status"].to_pylist()))
            failed = {*_failed(table), *undescribed.get(variant, ())}
            for measure in measures:
                scores = found[variant, measure.name] = _scores(table, measure.column)
                num_failed[variant, measure.name] = len(failed - set(scores.latents_N.tolist()))
                if measure.trials:
                    trials[variant, measure.name] = pc.sum(table[measure.trials]).as_py() or 0
    found |= _of_labels(labels(run, sae), found)
    keywords = tables.read("keyword_scores", sae, columns=["latent", "f1", "f1_shuffled"])
    found["keywords", KEYWORD_F1.name] = _scores(keywords, "f1")
    found[shuffled("keywords"), KEYWORD_F1.name] = _scores(keywords, "f1_shuffled")
    columns = ["latent", "density", "is_dead"]
    stats = tables.of_latents("latent_stats", sae, chosen, columns=columns)
    dead = _latents(stats)[stats["is_dead"].to_numpy()]
    density = _scores(stats, "density")
    return RunScores(
        run,
        sae,
        found,
        trials,
        _control_trials(tables, sae),
        _median_cosine(tables, sae),
        statuses,
        num_failed,
        np.asarray(chosen, np.int64),
        tables.selected(sae).num_controls,
        len(tables.carried(sae)),
        dead,
        revivals(tables, sae, chosen),
        density.where(~np.isin(density.latents_N, dead)),
    )


def _control_trials(tables: Tables, sae: str) -> dict[tuple[str, str], ControlTrials]:
    if not step_named("output_score").is_wanted(tables.run.config):
        return {}
    sample = tables.controls(sae)
    columns = ["latent", "kind", "win", "right"]
    found: dict[tuple[str, str], ControlTrials] = {}
    for method in tables.run.config.score.methods if sample else ():
        rows = tables.of_latents("judgements", sae, sample, method, columns=columns)
        rows = rows.filter(pc.is_valid(rows["win"]))
        for kind in tables.run.config.score.control_texts:
            own = rows.filter(pc.field("kind") == kind)
            means = own.group_by("latent").aggregate([("win", "mean"), ("right", "mean")])
            wins, picks = (_scores(means, f"{column}_mean") for column in ("win", "right"))
            found[kind, method] = ControlTrials(wins, picks, own.num_rows)
    return found


def _median_cosine(tables: Tables, sae: str) -> float | None:
    sample = tables.controls(sae) if NEIGHBOUR in tables.run.config.score.control_texts else []
    return median(one.cosine for one in nearest(tables, sae, sample).values()) if sample else None


def _of_labels(
    labels: pa.Table, found: Mapping[tuple[str, str], Scores]
) -> Mapping[tuple[str, str], Scores]:
    """Of each latent the scores of the method that its label is by, and of that one's control."""
    made: dict[tuple[str, str], list[Scores]] = {}
    for name in map(str, labels["method"].unique().drop_null().to_pylist()):
        latents = labels.filter(pc.field("method") == pa.scalar(name))["latent"].to_numpy()
        for variant, label in ((name, LABEL), (shuffled(name), shuffled(LABEL))):
            for (method, measure), scores in found.items():
                if method == variant:
                    made.setdefault((label, measure), []).append(scores.of(latents))
    return {key: _joined(parts) for key, parts in made.items()}


def _joined(parts: Sequence[Scores]) -> Scores:
    latents_N = np.concatenate([part.latents_N for part in parts])
    order = np.argsort(latents_N)
    return Scores(latents_N[order], np.concatenate([part.values_N for part in parts])[order])


def _scores(table: pa.Table, column: str) -> Scores:
    """The values of a column that are there; a table's rows rise by latent in each part alone."""
    table = table.filter(table[column].is_valid()).sort_by("latent")
    return Scores(
        _latents(table),
        table[column].cast(pa.float64(), safe=False).to_numpy(),
    )


def _latents(table: pa.Table) -> npt.NDArray[np.int64]:
    return table["latent"].to_numpy().astype(np.int64)


def _failed(table: pa.Table) -> list[int]:
    """Latents with a status that counts as a failure."""
    latents = _latents(table.filter(pc.is_in(table["status"], pa.array(_FAILURES))))
    return [int(latent) for latent in latents]
