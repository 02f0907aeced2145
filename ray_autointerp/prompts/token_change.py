"""TokenChange: tokens moved by a clamp to an explainer's prompt (paper 2.2, methods 4.3).

Raised and lowered, promoted and suppressed stay apart and in order; the released notebook merged
all four through a set (methods 7, trap 9).
"""

from dataclasses import dataclass

from ray_autointerp.prompts.shown import Rows, Shown, token_texts
from ray_autointerp.prompts.token_lists import quoted


@dataclass(frozen=True)
class TokenChangeEvidence:
    """Token texts by largest change of their logit, strongest first."""

    raised_promoted: tuple[str, ...]
    raised_suppressed: tuple[str, ...]
    lowered_promoted: tuple[str, ...]
    lowered_suppressed: tuple[str, ...]


def shown_of(rows: Rows, shown: Shown) -> str | None:
    """The lists of both signs as text; None where neither was measured or nothing moves."""
    by_sign = {r["sign"]: r for r in rows.get("token_change", ()) if r["status"] == "ok"}
    lists = [
        token_texts(by_sign.get(sign, {}).get(side), shown)
        for sign in (1, -1)
        for side in ("promoted", "suppressed")
    ]
    return rendered(TokenChangeEvidence(*lists)) if any(lists) else None


def rendered(evidence: TokenChangeEvidence) -> str:
    """The four lists as text."""
    return (
        f"Raised, these become more likely: {quoted(evidence.raised_promoted)}\n"
        f"Raised, these become less likely: {quoted(evidence.raised_suppressed)}\n"
        f"Lowered, these become more likely: {quoted(evidence.lowered_promoted)}\n"
        f"Lowered, these become less likely: {quoted(evidence.lowered_suppressed)}"
    )
