"""What follows from how an SAE fits the subject: go on, warn, or stop. Over a row of `sae_fit`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ray_autointerp.config import SaeFitSection

_L0_FACTOR = 3.0
"""How far the active latents of a token may be from those that the metadata says, either way. Text
of another kind than an SAE was trained on moves them by less."""


_NEAR = 0.9
"""Of its unexplained share that an SAE leaves at the next layer, where it is read a layer off."""


@dataclass(frozen=True)
class FitVerdict:
    """`unknown` where what the SAE should reconstruct is not known."""

    outcome: Literal["ok", "warn", "stop", "unknown"]
    sentences: tuple[str, ...] = ()
    """What to warn with, or the one to stop with."""


def fit_verdict(
    row: Mapping[str, Any], section: SaeFitSection, elsewhere: Mapping[str, float] | None = None
) -> FitVerdict:
    """Of a row of the table `sae_fit`, and the unexplained shares at the hook points next to it."""
    unexplained = row["unexplained"]
    if unexplained is not None and unexplained > section.most_unexplained:
        return FitVerdict("stop", (_stop(row),))
    if sentences := tuple(_warnings(row, section, elsewhere or {})):
        return FitVerdict("warn", sentences)
    return FitVerdict("unknown" if unexplained is None else "ok")


def _stop(row: Mapping[str, Any]) -> str:
    return (
        f"{_measured(row)}: it is most likely of another model, revision, layer, architecture or "
        "scale; look at its [[sae]] and cfg.json, or, if it is meant, set "
        f"sae_fit.most_unexplained above {row['unexplained']:.2f}."
    )


def _warnings(
    row: Mapping[str, Any], section: SaeFitSection, elsewhere: Mapping[str, float]
) -> Iterator[str]:
    unexplained, l0, expected = row["unexplained"], row["l0"], row["expected_l0"]
    if unexplained is not None and unexplained > section.warn_unexplained:
        yield f"{_measured(row)}: its labels explain little of the model."
    best = min(elsewhere, key=lambda point: elsewhere[point], default=None)
    if best is not None and unexplained is not None and elsewhere[best] < _NEAR * unexplained:
        yield (
            f"The SAE {row['sae']} leaves {unexplained:.0%} of the variance unexplained at "
            f"{row['hook_point']}, and {elsewhere[best]:.0%} at {best}: it was most likely trained "
            "at another layer than it is read at; look at its hook_point."
        )
    if l0 is not None and expected and not 1 / _L0_FACTOR <= l0 / expected <= _L0_FACTOR:
        yield (
            f"Of the SAE {row['sae']} {l0:.3g} latents are active at a token, and by its metadata "
            f"{expected:.3g}: it may be read with another architecture, threshold or scale, or on "
            "another layer or model, than it was trained with."
        )


def _measured(row: Mapping[str, Any]) -> str:
    expected = "" if row["expected_l0"] is None else f", by its metadata {row['expected_l0']:.3g}"
    return (
        f"The SAE {row['sae']} leaves {row['unexplained']:.0%} of the variance of what it reads "
        f"unexplained, with {row['l0']:.3g} latents active at a token{expected}"
    )
