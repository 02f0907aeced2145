"""The columns of labels by which a person sorts, filters and plots, with what they are called."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["inputs", "outputs"]
Scale = Literal["rate", "linear", "log"]


@dataclass(frozen=True)
class Measure:
    """One number of a label."""

    name: str
    title: str
    means: str
    scale: Scale = "linear"
    chance: float | None = None
    """What a label that says nothing gets."""
    side: Side | None = None
    """Of the scores that decide what a label is shown on: what it was asked about."""


MEASURES = (
    Measure(
        "support",
        "support",
        "Mean lower end of the 95 % intervals of its scores, inputs and outputs weighed alike: "
        "above 0.5 it is better than chance.",
        "rate",
        0.5,
    ),
    Measure(
        "input_auroc",
        "input AUROC",
        "Chance that a sentence written to activate it activates it more than a neutral one.",
        "rate",
        0.5,
        "inputs",
    ),
    Measure(
        "detection_auroc",
        "detection AUROC",
        "Chance that the judge, by the label, prefers a held-out text in which it fires.",
        "rate",
        0.5,
        "inputs",
    ),
    Measure(
        "fuzzing_auroc",
        "fuzzing AUROC",
        "The same for marked tokens of held-out texts.",
        "rate",
        0.5,
        "inputs",
    ),
    Measure(
        "output_win_rate",
        "output win rate",
        "Share of trials in which the label speaks more for its steered texts than another's.",
        "rate",
        0.5,
        "outputs",
    ),
    Measure(
        "unseen_win_rate",
        "unseen-token win rate",
        "The same for promoted tokens that no explainer was shown.",
        "rate",
        0.5,
        "outputs",
    ),
    Measure(
        "name_win_rate",
        "name win rate",
        "Share of trials that the short name alone won.",
        "rate",
        0.5,
    ),
    Measure(
        "keyword_f1",
        "keyword F1",
        "How well the tokens that keywords quote foretell where it fires in held-out text.",
        "rate",
    ),
    Measure("density", "density", "Share of tokens on which it fires.", "log"),
    Measure("max_activation", "maximum", "Its largest activation on the explain side."),
    Measure("margin", "margin", "Its label's lead over the runner-up in the choosing trials."),
    Measure(
        "s_in", "S_in", "Share of its examples that peak on tokens its decoder promotes.", "rate"
    ),
    Measure("s_out", "S_out", "Whether amplifying it makes the model say what it promotes."),
    Measure("effect_kl", "effect KL", "KL of the next token at its maximum, in nats.", "log"),
    Measure(
        "single_token_share",
        "single-token share",
        "Share of its examples that peak on one token.",
        "rate",
    ),
)

BY_NAME = {measure.name: measure for measure in MEASURES}

SCORES = tuple(measure for measure in MEASURES if measure.side is not None)
"""Scores of a label: each has columns `<name>_low` and `<name>_high` beside it."""

SHOWN_ON = ("inputs and outputs", "inputs", "outputs", "neither", "not scored")
"""On which sides some score's whole interval lies above chance."""
