"""Two SAEs beside each other: which labels differ, how scores changed, which latents are matched.

Latents are paired as the newer run matched them with the older one's; without a match, by number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ray_autointerp.methods.paired import difference
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.names import MissingObject
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.measures import SCORES, Measure
from ray_autointerp.viewer.scores import Score

PAGE_ROWS = 50
_COLUMNS = ("latent", "label", "method", "chosen", *(score.name for score in SCORES))

SHOWN: Mapping[str, Callable[["Pair"], bool]] = {
    "changed": lambda pair: pair.is_changed and pair.is_described,
    "same": lambda pair: not pair.is_changed and pair.is_described,
    "all": lambda _: True,
}
"""Which pairs are listed."""


@dataclass(frozen=True)
class Pair:
    """One latent of either side."""

    first: Mapping[str, Any]
    second: Mapping[str, Any]
    cosine: float | None

    @property
    def is_changed(self) -> bool:
        """Whether the label is another."""
        return bool(self.first["label"] != self.second["label"])

    @property
    def is_described(self) -> bool:
        """Whether an LLM was asked about it on either side."""
        return bool(self.first["chosen"] or self.second["chosen"])

    @property
    def gain(self) -> float | None:
        """How much more the second label scores, on average over the scores that both have."""
        both = [(self.first[one.name], self.second[one.name]) for one in SCORES]
        gains = [after - before for before, after in both if None not in (before, after)]
        return fmean(gains) if gains else None


@dataclass(frozen=True)
class Change:
    """One score on the latents that both sides have it of."""

    measure: Measure
    first: Score
    second: Score
    mean: float
    low: float | None
    high: float | None
    num_latents: int
    wins: int
    losses: int


@dataclass(frozen=True)
class Comparison:
    """Everything that the page shows."""

    paired_by: str
    num_pairs: int
    num_changed: int
    num_described: int
    num_born: int
    """Latents of the second side without an earlier self."""
    num_lost: int
    """Latents of the first side that are none of the second."""
    changes: list[Change]
    pairs: list[Pair]
    count: int
    """Pairs of the kind that is listed."""


def comparison(
    first: LabelIndex, second: LabelIndex, kind: str = "changed", page: int = 1
) -> Comparison:
    """The second side against the first."""
    columns = ", ".join(_COLUMNS)
    sides = [
        {row["latent"]: row for row in index.rows(f"select {columns} from labels")}
        for index in (first, second)
    ]
    matched = matches(first, second)
    by_number = {latent: (latent, None) for latent in sides[1] if latent in sides[0]}
    pairing = by_number if matched is None else matched
    pairs = [
        Pair(sides[0][earlier], sides[1][latent], cosine)
        for latent, (earlier, cosine) in pairing.items()
        if earlier in sides[0] and latent in sides[1]
    ]
    described = [pair for pair in pairs if pair.is_described]
    asked = sorted(filter(SHOWN[kind], pairs), key=_order)
    earlier_selves = {pair.first["latent"] for pair in pairs}
    return Comparison(
        "number" if matched is None else "the run's matches",
        len(pairs),
        sum(pair.is_changed for pair in described),
        len(described),
        len(sides[1]) - len(pairs),
        len(sides[0]) - len(earlier_selves),
        [change for one in SCORES if (change := _change(one, pairs)) is not None],
        asked[(page - 1) * PAGE_ROWS : page * PAGE_ROWS],
        len(asked),
    )


def matches(first: LabelIndex, second: LabelIndex) -> dict[int, tuple[int, float | None]] | None:
    """By latent of the second, its latent of the first, where one of the runs matched the other."""
    forth = _matched(second.tables, second.sae, first)
    if forth is not None:
        return forth
    back = _matched(first.tables, first.sae, second)
    if back is None:
        return None
    return {earlier: (latent, cosine) for latent, (earlier, cosine) in back.items()}


def _matched(
    tables: Tables, sae: str, other: LabelIndex
) -> dict[int, tuple[int, float | None]] | None:
    run = tables.run
    is_parent = run.config.run.parent == other.tables.run.folder
    if not run.config.is_matched or not is_parent or run.config.earlier_id(sae) != other.sae:
        return None
    try:
        rows = tables.read("matches", sae, columns=["latent", "earlier_latent", "cosine"])
    except MissingObject:
        return None
    return {
        row["latent"]: (row["earlier_latent"], row["cosine"])
        for row in rows.to_pylist()
        if row["earlier_latent"] is not None
    }


def _change(measure: Measure, pairs: Sequence[Pair]) -> Change | None:
    name = measure.name
    both = [
        (pair.first[name], pair.second[name])
        for pair in pairs
        if pair.first[name] is not None and pair.second[name] is not None
    ]
    if not both:
        return None
    before, after = np.asarray(both, np.float64).T
    made = difference([(after, before)], derive_seed("compare", name))
    interval = made.mean.interval
    assert made.mean.mean is not None
    means = [
        Score(measure.title, float(side.mean()), chance=measure.chance) for side in (before, after)
    ]
    return Change(
        measure,
        means[0],
        means[1],
        made.mean.mean,
        interval.low if interval else None,
        interval.high if interval else None,
        len(both),
        made.wins,
        made.losses,
    )


def _order(pair: Pair) -> tuple[bool, float, int]:
    """The largest change first; pairs that are scored on one side alone come last."""
    gain = pair.gain
    return gain is None, -abs(gain or 0.0), pair.second["latent"]
