"""VocabProj: promoted and suppressed tokens to an explainer's prompt (paper 2.2, methods 4.2).

The two lists are labelled and keep their order; the released notebook gave one flat list
(methods 7, trap 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.shown import Rows, Shown, token_texts
from ray_autointerp.prompts.text import explainer_prompt


@dataclass(frozen=True)
class VocabProjEvidence:
    """Token texts, strongest first on each side."""

    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]


def evidence_from(rows: Rows, shown: Shown) -> VocabProjEvidence | None:
    """Both lists; None where there is no row, or it failed."""
    for row in rows.get("vocab_proj", ()):
        if row["status"] == "ok":
            return VocabProjEvidence(
                token_texts(row["promoted"], shown), token_texts(row["suppressed"], shown)
            )
    return None


def ask(evidence: VocabProjEvidence, cap_words: int) -> tuple[Message, ...]:
    """Fixed part first, this latent last."""
    return explainer_prompt("vocab_proj", rendered(evidence), cap_words)


def rendered(evidence: VocabProjEvidence) -> str:
    """The two lists as text."""
    return (
        f"Promoted tokens: {quoted(evidence.promoted)}\n"
        f"Suppressed tokens: {quoted(evidence.suppressed)}"
    )


def quoted(tokens: Sequence[str]) -> str:
    """A list of tokens in quotation marks; leading spaces and line breaks stay visible."""
    return ", ".join('"' + t.replace("\n", "\\n").replace('"', "'") + '"' for t in tokens) or "none"
