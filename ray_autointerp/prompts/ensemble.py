"""Ensembles: Raw puts all evidence into one prompt, Concat joins finished descriptions (paper 2.3).

Concat calls no LLM of its own; its parts are asked again at a share of the cap so that the whole
fits the cap that every method has, and longer text does not win.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ray_autointerp.prompts import max_act, token_change, vocab_proj
from ray_autointerp.prompts.max_act import MaxActEvidence
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.shown import Rows, Shown
from ray_autointerp.prompts.text import explainer_prompt
from ray_autointerp.prompts.token_change import TokenChangeEvidence
from ray_autointerp.prompts.vocab_proj import VocabProjEvidence

CONCAT_ORDER = ("vocab_proj", "max_act", "token_change")
"""The paper's order of the joined parts."""


@dataclass(frozen=True)
class RawEvidence:
    """All evidence of one latent; a part that does not exist is None and is said to be missing."""

    max_act: MaxActEvidence | None
    vocab_proj: VocabProjEvidence | None
    token_change: TokenChangeEvidence | None


def evidence_from(rows: Rows, shown: Shown) -> RawEvidence:
    """Whatever there is."""
    return RawEvidence(
        max_act.evidence_from(rows, shown),
        vocab_proj.evidence_from(rows, shown),
        token_change.evidence_from(rows, shown),
    )


def ask(evidence: RawEvidence, cap_words: int) -> tuple[Message, ...]:
    """One prompt over inputs and outputs; fixed part first, this latent last."""
    return explainer_prompt("ensemble_raw", rendered(evidence), cap_words)


def rendered(evidence: RawEvidence) -> str:
    """[INPUT] with the examples, then one [OUTPUT] per token evidence."""
    parts = [
        "[INPUT]",
        max_act.rendered(evidence.max_act) if evidence.max_act else "It was never active.",
    ]
    if evidence.vocab_proj:
        parts += [
            "[OUTPUT: its direction read as tokens]",
            vocab_proj.rendered(evidence.vocab_proj),
        ]
    if evidence.token_change:
        parts += [
            "[OUTPUT: tokens moved by setting it]",
            token_change.rendered(evidence.token_change),
        ]
    return "\n".join(parts)


def part_cap(cap_words: int) -> int:
    """Words each part of Concat may have."""
    return max(1, cap_words // len(CONCAT_ORDER))


def joined(parts: Mapping[str, str]) -> str | None:
    """The descriptions that exist, in the paper's order, one a line; None if there is none."""
    return "\n".join(parts[name] for name in CONCAT_ORDER if name in parts) or None
