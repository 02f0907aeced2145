"""Everything a page shows of one latent, read by row group from the tables of the run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ray_autointerp.plan.controls import CONTROL_TARGETS, shuffled
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.reads import producer_of
from ray_autointerp.reports.latent_rows import SCORES, Description, LatentRows, latent_rows
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.names import MissingObject
from ray_autointerp.viewer.scores import Score, description_scores
from ray_autointerp.viewer.shown_text import ShownToken, shown_tokens

_EXAMPLES = 12
_TOKENS = 20
_STRENGTHS = ((0.75, "strong"), (0.5, "half"), (0.25, "weak"), (0.0, "faint"))
"""Least share of the maximum of each strip of the stratified examples."""
_PER_STRIP = 3


@dataclass(frozen=True)
class Excerpt:
    """An example, ready to be drawn."""

    activation: float
    tokens: Sequence[ShownToken]
    document: str


@dataclass(frozen=True)
class TokenList:
    """What one estimate says the latent promotes and suppresses."""

    name: str
    promoted: Sequence[Row]
    suppressed: Sequence[Row]
    status: str
    largest: float


@dataclass(frozen=True)
class Scored:
    """A description with its scores."""

    of: Description
    scores: Sequence[Score]
    lead: str
    """Of the label, how clearly it was chosen."""


@dataclass(frozen=True)
class Sentences:
    """Sentences that an LLM wrote from one description, with what the latent does on them."""

    method: str
    rows: Sequence[Mapping[str, Any]]
    largest: float


@dataclass(frozen=True)
class JudgedText:
    """A held-out text of which the judge was asked whether the latent is active there."""

    row: Row
    excerpt: Excerpt | None
    """Of texts in which it is active, where that is among the examples that are kept."""


@dataclass(frozen=True)
class SteeredText:
    """What the model says after a prompt when the latent is raised, and when it is not."""

    prompt: str
    raised: Sequence[str]
    plain: Sequence[str]


class LatentPage:
    """One latent of one SAE. Each part is read when it is asked for."""

    def __init__(self, tables: Tables, sae: str, latent: int) -> None:
        self.tables, self.sae, self.latent = tables, sae, latent
        self.rows: LatentRows = latent_rows(tables, sae, latent)
        self.missing = set(self.rows.missing)
        """Tables that the run lacks."""

    @property
    def maximum(self) -> float:
        """Of the examples that are shown: what the darkest shade stands for."""
        return max((row["activation"] for row in self.rows.examples), default=0.0)

    def examples(self) -> list[Excerpt]:
        """The strongest."""
        return [self._excerpt(row) for row in self.rows.examples[:_EXAMPLES]]

    def strengths(self) -> list[tuple[str, list[Excerpt]]]:
        """Examples at falling shares of the maximum."""
        rows = sorted(self._explained("stratified"), key=lambda row: -row["activation"])
        strips, above = [], float("inf")
        for least, name in _STRENGTHS:
            inside = [row for row in rows if least <= row["activation"] / self.maximum < above]
            above = least
            if inside:
                step = max(1, len(inside) // _PER_STRIP)
                shown = inside[::step][:_PER_STRIP]
                strips.append((name, [self._excerpt(row) for row in shown]))
        return strips

    def near_misses(self) -> list[Excerpt]:
        """Silent places at tokens on which it fires elsewhere."""
        return [self._excerpt(row) for row in self._explained("near_misses")[:6]]

    def following(self) -> list[Row]:
        """Tokens that come after its peaks."""
        return self._explained("following")[:12]

    def token_lists(self) -> list[TokenList]:
        """VocabProj, JacobianProj and TokenChange of the raised latent."""
        made = []
        for name, rows in self.rows.lists:
            row = next((row for row in rows if row.get("sign", 1) == 1), rows[0])
            promoted, suppressed = (
                list(row[side] or [])[:_TOKENS] for side in ("promoted", "suppressed")
            )
            largest = max((abs(one["logit"]) for one in promoted + suppressed), default=1.0)
            made.append(TokenList(name, promoted, suppressed, row["status"], largest or 1.0))
        return made

    def best_list(self, lists: Sequence[TokenList]) -> TokenList:
        """The exact change where it was made, else the estimate that comes nearest to it."""
        return next((one for one in lists if one.name.startswith("TokenChange")), lists[-1])

    def agreement(self) -> list[tuple[str, str, float]]:
        """Of each two lists, the share of promoted tokens in common."""
        sets = [(one.name, {t["token"] for t in one.promoted}) for one in self.token_lists()]
        return [
            (one, other, len(first & second) / max(1, min(len(first), len(second))))
            for (one, first), (other, second) in combinations(sets, 2)
            if first and second
        ]

    def reads(self) -> Sequence[Row]:
        """Tokens of the embedding that its encoder reads, where the run has them."""
        found = dict(self.rows.lists).get("VocabProj", ())
        return (found[0].get("reads") or [])[:_TOKENS] if found else ()

    def descriptions(self) -> list[Scored]:
        """Every method's, the label's first."""
        floors = {one.method: self._shuffled(one) for one in self.rows.descriptions}
        made = [
            Scored(one, list(description_scores(one.scores, floors[one.method])), _lead(one))
            for one in self.rows.descriptions
        ]
        return sorted(made, key=lambda scored: scored.of.choice is None)

    def sentences(self) -> list[Sentences]:
        """Those of the published draws, with their activations."""
        made = []
        for description in self.rows.descriptions:
            scored = description.scores.get("input_score")
            if scored is None or not scored["activations"]:
                continue
            drawn = self._rows("sentences", description.method)
            published = range(self.tables.run.config.score.num_draws)
            rows = [row for row in _activated(drawn, scored) if row["draw"] in published]
            rows.sort(key=lambda row: (str(row["side"]), -row["activation"]))
            largest = max((row["activation"] for row in rows), default=0.0)
            if rows:
                made.append(Sentences(description.method, rows, largest))
        return made

    def steered(self) -> list[SteeredText]:
        """Texts by prompt: raised, and what is said there without raising it."""
        completions = [row for row in self._rows("completions") if row["status"] == "ok"]
        plain = self._plain()
        made = []
        for prompt in dict.fromkeys(row["prompt"] for row in completions):
            own = [row for row in completions if row["prompt"] == prompt]
            made.append(
                SteeredText(
                    own[0]["prompt_text"],
                    [_tail(row) for row in own if row["sign"] > 0][:2],
                    [_tail(row) for row in plain if row["prompt"] == prompt][:2],
                )
            )
        return made

    @property
    def plain_kind(self) -> str:
        """What the clean side of the steered texts is."""
        return self._plain_kind

    def judgements(self, method: str) -> list[Row]:
        """Published trials on steered texts of one description."""
        rows = self._rows("judgements", method)
        return [row for row in rows if not row["choosing"]]

    def unseen(self, method: str) -> list[Row]:
        """Published trials on unseen tokens of one description."""
        rows = self._rows("unseen_judgements", method)
        return [row for row in rows if not row["choosing"]]

    def judged_texts(self, table: str, method: str) -> list[JudgedText]:
        """Of `detections` or `fuzzings`, the texts in order of the odds that one description was
        given for them.
        """
        places = {
            example["window"]: example
            for rows in self.rows.example_rows
            if rows["split"] == "score"
            for kept in ("near_misses", "stratified", "examples")
            for example in rows[kept] or ()
        }
        judged = sorted(self._rows(table, method), key=lambda row: -(row["log_odds"] or 0.0))
        made = []
        for row in judged:
            example = places.get(row["window"]) if row["strength"] else None
            made.append(JudgedText(row, self._excerpt(example) if example else None))
        return made

    _plain_kind = ""

    def _plain(self) -> list[Row]:
        """Unsteered text where the run has some; else that of a random direction."""
        if not self.rows.is_chosen:
            return []
        if step_named("unsteered_texts").is_wanted(self.tables.run.config):
            try:
                rows = self.tables.read("unsteered_texts", self.sae).to_pylist()
                self._plain_kind = "unsteered"
                return [row for row in rows if row["status"] == "ok"]
            except MissingObject:
                self.missing.add("unsteered_texts")
        for kind in CONTROL_TARGETS[::-1]:
            is_made = kind in self.tables.run.config.score.control_texts
            if is_made and self._is_control() and (rows := self._rows("control_texts", kind)):
                self._plain_kind = kind.replace("_", " ")
                return [row for row in rows if row["status"] == "ok"]
        return []

    def _is_control(self) -> bool:
        try:
            return bool(self.tables.selection(self.sae)[self.latent]["control"])
        except (MissingObject, KeyError):
            return False

    def _shuffled(self, description: Description) -> dict[str, Row]:
        """What another latent's description scored at this latent, where it is a control."""
        if not description.scores or not self._is_control():
            return {}
        found = {}
        for step in SCORES:
            if step in description.scores:
                table = step_named(step).writes[-1]
                rows = self._rows(table, shuffled(description.method))
                if rows:
                    found[step] = rows[0]
        return found

    def _rows(self, table: str, method: str | None = None) -> list[Row]:
        """Its rows; none of a table that is not there, or that this latent is not in."""
        is_wanted = producer_of(table, method).is_wanted(self.tables.run.config)
        if not self.rows.is_chosen or not is_wanted:
            return []
        try:
            return self.tables.rows(table, self.sae, [self.latent], method)[self.latent]
        except MissingObject:
            self.missing.add(table)
            return []

    def _explained(self, column: str) -> list[Row]:
        for row in self.rows.example_rows:
            if row["split"] == "explain":
                return list(row[column] or [])
        return []

    def _excerpt(self, row: Row) -> Excerpt:
        tokens = list(shown_tokens(row, self.maximum))
        return Excerpt(row["activation"], tokens, row["document_id"] or "")


def _activated(drawn: Sequence[Row], scored: Row) -> Iterator[dict[str, Any]]:
    """Sentences in the order of writing beside their activations, which have the same order."""
    texts: dict[tuple[int, str], list[str]] = {}
    for row in drawn:
        for side in ("activating", "neutral"):
            texts[row["draw"], side] = list(row[side] or [])
    seen: dict[tuple[int, str], int] = {}
    for one in scored["activations"]:
        key = one["draw"], one["side"]
        at = seen.get(key, 0)
        seen[key] = at + 1
        if at < len(texts.get(key, ())):
            yield {
                "draw": one["draw"],
                "side": one["side"],
                "text": texts[key][at],
                "activation": one["activation"],
            }


def _tail(row: Row) -> str:
    """What was said after the prompt."""
    return str(row["text"]).removeprefix(row["prompt_text"]).strip(" ")


def _lead(description: Description) -> str:
    choice = description.choice
    if choice is None:
        return ""
    if choice["margin"] is None:
        return "the label"
    if choice["margin"] < 0:
        return (
            f"the label, though {choice['runner_up']} leads by {-choice['margin']:.3f}, less "
            "than its error"
        )
    return f"the label, {choice['margin']:.3f} before {choice['runner_up']}"
