"""carry_check: which latents keep the label that the parent run gave the latent they are matched
with (methods/carry_over.py).

What a label was checked by is copied, so that a later run needs this one's tables alone: the
sentences, and the row of the parent's labels with its scores.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from ray_autointerp.errors import StoreError
from ray_autointerp.methods.carry_over import (
    Check,
    Likeness,
    Thresholds,
    failed_likeness,
    is_below_a_score,
    sentences_hold,
)
from ray_autointerp.methods.input_score import auroc
from ray_autointerp.passes.peak_activations import LatentText, encoded, peak_activations
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.ledger import labelled_on
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

_SIDES = ("activating", "neutral")


@dataclass(frozen=True)
class _Earlier:
    """A label of the parent run, and what was written from it."""

    label: Row
    sentences: Sequence[Row]
    """`side` and `text` of each."""

    @property
    def was_scored(self) -> bool:
        """Whether its sentences were scored on the latent that it was made for."""
        sides = {sentence["side"] for sentence in self.sentences}
        return self.label["input_auroc"] is not None and sides == set(_SIDES)


def run(task: Task, context: WorkerContext) -> None:
    """Write `carry_checks`, a row per latent, and `carried_labels`, a row per label that holds."""
    assert task.sae is not None
    section = context.run.config.match
    assert section is not None, "the step is switched off without"
    thresholds = Thresholds(
        section.carry_cosine,
        section.carry_correlation,
        section.carry_overlap,
        section.carry_auroc_loss,
    )
    latents = context.tables.latents(task)
    matches = context.tables.row("matches", task.sae, latents)
    tables, earlier_id = context.earlier, context.run.config.earlier_id(task.sae)
    olds = [i for row in matches.values() if (i := row["earlier_latent"]) is not None]
    known = _earlier(tables, earlier_id, olds)
    too_old = _too_old(tables, earlier_id, known, section.carry_since)
    least = {str(score): value for score, value in section.carry_scores.items()}
    failed: dict[int, Check | None] = {}
    for latent, row in matches.items():
        label = known.get(row["earlier_latent"])
        if row["earlier_latent"] is None:
            failed[latent] = "match"
        elif label is None or not label.was_scored:
            failed[latent] = "label"
        elif is_below_a_score(label.label, least):
            failed[latent] = "score"
        elif row["earlier_latent"] in too_old:
            failed[latent] = "age"
        else:
            failed[latent] = failed_likeness(_likeness(row), thresholds)
    alike = {
        latent: known[row["earlier_latent"]]
        for latent, row in matches.items()
        if failed[latent] is None
    }
    now = _aurocs(context, task.sae, alike)
    for latent, found in alike.items():
        if not sentences_hold(found.label["input_auroc"], now[latent], thresholds):
            failed[latent] = "sentences"
    context.write(
        task,
        "carry_checks",
        [_check(row, failed[row["latent"]], alike, now) for row in matches.values()],
    )
    origin = tables.run.folder, earlier_id
    carried = [latent for latent in alike if failed[latent] is None]
    context.write(
        task, "carried_labels", [_label(latent, alike[latent].label, *origin) for latent in carried]
    )


def _likeness(match: Row) -> Likeness:
    return Likeness(match["cosine"], match["correlation"], match["promoted_overlap"])


def _too_old(
    tables: Tables, sae: str, labels: Mapping[int, _Earlier], since: date | None
) -> frozenset[int]:
    """The earlier latents whose label was made before that day, or in a run that is gone."""
    if since is None:
        return frozenset()
    origins = {
        latent: (found.label["origin_run"] or tables.run.folder, found.label["origin_sae"] or sae)
        for latent, found in labels.items()
    }
    days = {origin: _labelled_on(tables.run, *origin) for origin in set(origins.values())}
    made = {latent: days[origin] for latent, origin in origins.items()}
    return frozenset(latent for latent, day in made.items() if day is None or day < since)


def _labelled_on(run: Run, folder: str, sae: str) -> date | None:
    try:
        return labelled_on(run if folder == run.folder else load_run(run.sibling(folder)), sae)
    except StoreError:
        return None


def _aurocs(context: WorkerContext, sae: str, labels: dict[int, _Earlier]) -> dict[int, float]:
    """By latent of this run, how well the sentences of the earlier label tell when it fires."""
    written = [(latent, row) for latent, found in labels.items() for row in found.sentences]
    texts = [LatentText(latent, encoded(context, row["text"])) for latent, row in written]
    peaks = peak_activations(context, context.sae(sae), texts) if texts else []
    values: dict[tuple[int, str], list[float]] = {
        (latent, side): [] for latent in labels for side in _SIDES
    }
    for (latent, row), peak in zip(written, peaks, strict=True):
        values[latent, row["side"]].append(peak.activation)
    return {latent: auroc(*(values[latent, side] for side in _SIDES)) for latent in labels}


def _check(
    match: Row, failed: Check | None, alike: dict[int, _Earlier], now: dict[int, float]
) -> Row:
    latent = match["latent"]
    row: Row = {
        "latent": latent,
        "status": "no_partner" if failed == "match" else "no_evidence",
        "carried": failed is None,
        "failed_check": failed,
        "earlier_latent": match["earlier_latent"],
    }
    if (found := alike.get(latent)) is None:
        return row
    return row | {
        "status": "ok",
        "auroc_before": found.label["input_auroc"],
        "auroc": now[latent],
        "sentences": list(found.sentences),
    }


def _label(latent: int, earlier: Row, folder: str, sae: str) -> Row:
    """The earlier row as this latent's; its origin is where the label was made."""
    origin = {
        "origin_run": earlier["origin_run"] or folder,
        "origin_sae": earlier["origin_sae"] or sae,
        "origin_latent": earlier["latent"]
        if earlier["origin_latent"] is None
        else earlier["origin_latent"],
    }
    return earlier | origin | {"latent": latent}


def _earlier(tables: Tables, sae: str, latents: Sequence[int]) -> dict[int, _Earlier]:
    """By latent of the parent run, its label, where an LLM was asked about it or it was carried."""
    labels = {
        row["latent"]: _Earlier(row, ())
        for row in tables.of_latents("labels", sae, latents).to_pylist()
        if row["label"] is not None
    }
    carried = [latent for latent, one in labels.items() if one.label["origin_run"] is not None]
    checks = tables.rows("carry_checks", sae, carried) if carried else {}
    found = {
        latent: replace(labels[latent], sentences=row["sentences"])
        for latent, (row,) in checks.items()
    }
    for method in tables.run.config.score.methods:
        made = [
            latent
            for latent, one in labels.items()
            if one.label["chosen"] and one.label["method"] == method
        ]
        written = tables.rows("sentences", sae, made, method) if made else {}
        for latent, rows in written.items():
            sentences = list(_published(rows, tables.run.config.score.num_draws))
            found[latent] = replace(labels[latent], sentences=sentences)
    return found


def _published(rows: Iterable[Row], num_draws: int) -> Iterable[Row]:
    """The sentences of which the label's score is."""
    for row in rows:
        if row["status"] == "ok" and row["draw"] < num_draws:
            for side in _SIDES:
                yield from ({"side": side, "text": text} for text in row[side])
