"""A few labels of an SAE that show the whole: the best, the worst, and some by chance."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.scores import Score, label_scores

NUM_ENDS, NUM_DRAWN = 5, 10

_SCORED = "chosen and label is not null and support is not null"


@dataclass(frozen=True)
class SampleLabel:
    """A label with its scores and what its latent promotes."""

    row: dict[str, Any]
    promotes: list[str]
    scores: list[Score]


@dataclass(frozen=True)
class Sample:
    """Some labels, and how they were taken."""

    title: str
    labels: list[SampleLabel]


def sample_labels(index: LabelIndex) -> list[Sample]:
    """Of the labels that were scored: those whose intervals lie highest and lowest, and as many as
    `NUM_DRAWN` others drawn by the run's seed. None where nothing was scored.
    """
    order = "order by num_shown desc, support desc, latent"
    ranked = [
        row["latent"] for row in index.rows(f"select latent from labels where {_SCORED} {order}")
    ]
    ends = min(NUM_ENDS, len(ranked) // 2)
    best, worst = ranked[:ends], ranked[len(ranked) - ends :][::-1]
    rest = ranked[ends : len(ranked) - ends]
    seed = index.tables.run.config.run.seed
    drawn = sorted(random.Random(seed).sample(rest, min(NUM_DRAWN, len(rest))))
    parts = (
        ("Best shown", best),
        ("Least shown", worst),
        ("Drawn by chance from the others", drawn),
    )
    return [Sample(title, list(_labels(index, latents))) for title, latents in parts if latents]


def _labels(index: LabelIndex, latents: list[int]) -> Iterator[SampleLabel]:
    where, given = "list_contains(?::int[], latent)", [latents]
    rows = index.rows(f"select * exclude (searched) from labels where {where}", given)
    lists = index.label_table(where, given, "order by latent").select(["latent", "promotes"])
    promotes = dict(zip(*lists.to_pydict().values(), strict=True))
    by_latent = {row["latent"]: row for row in rows}
    for latent in latents:
        row = by_latent[latent]
        yield SampleLabel(row, promotes[latent] or [], label_scores(row))
