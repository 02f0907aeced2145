"""Scores as a page shows them: the value with its interval, chance, floor and ceiling."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ray_autointerp.methods.intervals import mann_whitney_interval
from ray_autointerp.viewer.measures import SCORES

Row = Mapping[str, Any]
CHANCE = 0.5


@dataclass(frozen=True)
class Score:
    """One score of one description; without a value, `status` says why."""

    title: str
    value: float | None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    ceiling: float | None = None
    floor: float | None = None
    """What another latent's description gets."""
    status: str = "ok"
    means: str = ""
    side: str = ""

    @property
    def verdict(self) -> str:
        """Where its interval lies: `above` chance, `below` it, or `unsure`; `none` without one."""
        if self.value is None:
            return "none"
        if self.chance is None or self.low is None or self.high is None:
            return "unsure"
        if self.low > self.chance:
            return "above"
        return "below" if self.high < self.chance else "unsure"

    @property
    def in_words(self) -> str:
        """For those who do not see the drawing."""
        if self.value is None:
            return self.status
        parts = [f"{self.value:.2f}"]
        if self.low is not None and self.high is not None:
            parts.append(f"95 % interval {self.low:.2f} to {self.high:.2f}")
        for name in ("chance", "floor", "ceiling"):
            end = getattr(self, name)
            if end is not None:
                parts.append(f"{name} {end:.2f}")
        return ", ".join(parts)


def label_scores(row: Row) -> list[Score]:
    """Of a row of the index, the scores of its label: only those that it has."""
    return [
        Score(
            measure.title,
            row[measure.name],
            row[f"{measure.name}_low"],
            row[f"{measure.name}_high"],
            measure.chance,
            row["output_ceiling"] if measure.name == "output_win_rate" else None,
            means=measure.means,
            side=measure.side or "",
        )
        for measure in SCORES
        if row[measure.name] is not None
    ]


def verdict(scores: list[Score]) -> tuple[str, str]:
    """One word for the page's colour, and what to think of the label, in a sentence."""
    if not scores:
        return "none", "Nothing was scored: this label was never put to a test."
    sides = {side: [one for one in scores if one.side == side] for side in ("inputs", "outputs")}
    above = {
        side: [one.title for one in own if one.verdict == "above"] for side, own in sides.items()
    }
    below = [one.title for one in scores if one.verdict == "below"]
    against = f" But {_listed(below)} lies below chance." if below else ""
    if above["inputs"] and above["outputs"]:
        named = _listed(above["inputs"] + above["outputs"])
        return "above", f"Shown on inputs and on outputs: {named} above chance.{against}"
    for side, other in (("inputs", "outputs"), ("outputs", "inputs")):
        if above[side]:
            rest = "not scored" if not sides[other] else "not shown"
            said = f"Shown on {side} only: {_listed(above[side])} above chance; {other} {rest}."
            return "partly", said + against
    if below:
        return "below", f"Contradicted: {_listed(below)} below chance, and nothing above it."
    return "unsure", "Not shown: no score's 95 % interval lies above chance."


def description_scores(scores: Mapping[str, Row], shuffled: Mapping[str, Row]) -> Iterator[Score]:
    """The scores of one description by step; `shuffled` are those of another latent's there."""
    for step, title, column in (
        ("input_score", "input AUROC", "auroc"),
        ("detection", "detection AUROC", "auroc"),
        ("fuzzing", "fuzzing AUROC", "auroc"),
        ("output_score", "output win rate", "win_rate"),
        ("unseen_tokens", "unseen-token win rate", "win_rate"),
    ):
        row = scores.get(step)
        if row is None:
            continue
        floor = shuffled.get(step, {}).get(column)
        if row["status"] != "ok" or row[column] is None:
            yield Score(title, None, status=row["status"], floor=floor)
            continue
        low, high = _interval(row, column)
        ceiling = (
            scores.get("output_ceiling", {}).get("ceiling") if step == "output_score" else None
        )
        yield Score(title, row[column], low, high, CHANCE, ceiling, floor)
    row = scores.get("keyword_score")
    if row is not None:
        value = row["f1"] if row["status"] == "ok" else None
        yield Score("keyword F1", value, floor=row["f1_shuffled"], status=row["status"])


def _interval(row: Row, column: str) -> tuple[float | None, float | None]:
    if f"{column}_low" in row:
        return row[f"{column}_low"], row[f"{column}_high"]
    made = mann_whitney_interval(row[column], row["num_activating"], row["num_neutral"])
    return made.low, made.high


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
