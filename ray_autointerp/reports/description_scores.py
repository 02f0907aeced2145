"""The scores of one description in words: the number with its interval, or why there is none."""

from collections.abc import Iterator, Mapping, Sequence

from ray_autointerp.methods.intervals import mann_whitney_interval
from ray_autointerp.runs.tables import Row

Score = tuple[tuple[str, str], str]
"""A score's name, a shorter one, and the number with its interval, or why there is none."""

Bounds = tuple[float | None, float | None]
"""The ends of an interval."""


def scores_in_words(scores: Mapping[str, Row]) -> list[Sequence[Score]]:
    """What was asked about inputs, about outputs, and of held-out texts: a group where there are
    any. `scores` are the rows by step.
    """
    kinds = (_input_scores, _output_scores, _text_scores)
    return [made for made in (list(kind(scores)) for kind in kinds) if made]


def input_interval(
    auroc: float | None, num_activating: int | None, num_neutral: int | None
) -> Bounds:
    """The 95 % interval over the sentences of an input AUROC, which its table has not; of no
    sentences none.
    """
    if auroc is None or not num_activating or not num_neutral:
        return None, None
    made = mann_whitney_interval(auroc, num_activating, num_neutral)
    return made.low, made.high


def label_note(choice: Row) -> str:
    """That this is the label, and how clearly it won."""
    if choice["margin"] is None:
        return "the label"
    if choice["margin"] < 0:
        lead = f"{choice['runner_up']} leads by {-choice['margin']:.3f}"
        return f"the label: {lead} in choosing trials, less than its error"
    return f"the label, {choice['margin']:.3f} before {choice['runner_up']} in choosing trials"


def number(value: float | None) -> str:
    """Two digits behind the point."""
    return "n/a" if value is None else f"{value:.2f}"


def _input_scores(scores: Mapping[str, Row]) -> Iterator[Score]:
    """How well keywords foretell where it fires, and written sentences make it fire."""
    for row in _of("keyword_score", scores):
        name = ("held-out F1", "F1")
        floor = f" (shuffled {number(row['f1_shuffled'])})"
        yield name, number(row["f1"]) + floor if row["status"] == "ok" else row["status"]
    for row in _of("input_score", scores):
        if row["status"] == "ok":
            interval = input_interval(row["auroc"], row["num_activating"], row["num_neutral"])
            yield ("input AUROC", "AUROC"), number(row["auroc"]) + _bounds(interval)
            yield ("hit rate", "hits"), number(row["hit_rate"])
            yield ("difference", "diff"), f"{row['difference']:.3g}"
        else:
            yield ("input score", "input"), row["status"]


def _output_scores(scores: Mapping[str, Row]) -> Iterator[Score]:
    """How well the judge knows its steered text and its unseen tokens."""
    for row in _of("output_score", scores):
        yield ("output win rate", "win rate"), _win_rate(row)
        for own in _of("output_ceiling", scores):
            if own["ceiling"] is not None:
                yield ("ceiling", "ceiling"), number(own["ceiling"])
        if row["three_set_success"] is not None:
            yield ("3 sets", "3 sets"), number(row["three_set_success"])
    for row in _of("unseen_tokens", scores):
        yield ("unseen tokens", "unseen"), _win_rate(row)


def _text_scores(scores: Mapping[str, Row]) -> Iterator[Score]:
    """How well the judge tells held-out texts apart."""
    for name in ("detection", "fuzzing"):
        for row in _of(name, scores):
            if row["status"] != "ok":
                yield (name, name), row["status"]
                continue
            bounds = _bounds((row["auroc_low"], row["auroc_high"]))
            yield (f"{name} AUROC", name), number(row["auroc"]) + bounds
            if row.get("near_miss_auroc") is not None:
                yield ("near misses", "near"), number(row["near_miss_auroc"])


def _of(step: str, scores: Mapping[str, Row]) -> Iterator[Row]:
    """The step's row, where there is one."""
    if step in scores:
        yield scores[step]


def _win_rate(row: Row) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    return number(row["win_rate"]) + _bounds((row["win_rate_low"], row["win_rate_high"]))


def _bounds(ends: Bounds) -> str:
    low, high = ends
    return "" if low is None or high is None else f" ({low:.2f}-{high:.2f})"
