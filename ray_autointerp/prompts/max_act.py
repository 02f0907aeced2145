"""MaxAct: top activating examples to an explainer's prompt (paper 2.1, methods 4.1).

Strengths are integers from 0 to 10 of the *latent's* maximum, so that relative strength between
examples is kept; the released notebook scaled each example by its own (methods 7, trap 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ray_autointerp.prompts.shown import Rows, Shown
from ray_autointerp.records.split_characters import whole_characters


@dataclass(frozen=True)
class Example:
    """A text in which the latent is active: token texts and activations, BOS left out."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class MaxActEvidence:
    """Top examples, strongest first, and the latent's maximum activation."""

    examples: tuple[Example, ...]
    max_activation: float


def shown_of(rows: Rows, shown: Shown) -> str | None:
    """The explain side's top examples as text; None where the latent has none."""
    explain = [
        row
        for row in rows.get("top_examples", ())
        if row["split"] == "explain" and row["status"] == "ok"
    ]
    if not explain or shown.max_activation is None:
        return None
    examples = explain[0]["examples"][: shown.num_examples]
    return rendered(
        MaxActEvidence(
            tuple(Example(tuple(e["texts"]), tuple(e["activations"])) for e in examples),
            shown.max_activation,
        )
    )


def rendered(evidence: MaxActEvidence) -> str:
    """The examples as text: active tokens marked, and under each text their strengths."""
    blocks = []
    for number, example in enumerate(evidence.examples, start=1):
        strengths = [_strength(a, evidence.max_activation) for a in example.activations]
        tokens, strengths, _ = whole_characters(example.tokens, strengths)
        text = marked(tokens, strengths)
        active = [
            f'"{_shown(token)}" {strength}'
            for token, strength in zip(tokens, strengths, strict=True)
            if strength > 0
        ]
        blocks.append(f"Text {number}: {text}\nActive: {', '.join(active)}")
    return "\n".join(blocks)


def marked(tokens: Sequence[str], strengths: Sequence[int]) -> str:
    """The text with each run of active tokens between << and >>; a character that is split over
    tokens is in the run if one of them is.
    """
    tokens, strengths, _ = whole_characters(tokens, strengths)
    pieces, is_open = [], False
    for token, strength in zip(tokens, strengths, strict=True):
        word = token.lstrip()
        if (strength > 0) != is_open:
            is_open = strength > 0
            # A mark stands at the word: before it, the space that its token begins with.
            token = f"{token[: len(token) - len(word)]}<<{word}" if is_open else f">>{token}"
        pieces.append(token)
    if is_open:
        pieces.append(">>")
    return " ".join("".join(pieces).split())


def _strength(activation: float, maximum: float) -> int:
    return min(10, int(10 * max(activation, 0.0) / maximum)) if maximum > 0 else 0


def _shown(token: str) -> str:
    return token.strip() or token.replace("\n", "\\n")
