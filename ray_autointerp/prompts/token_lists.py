"""Token lists: promoted and suppressed tokens as an explainer is shown them.

VocabProj and JacobianProj give such lists (paper 2.2, methods 4.2 and 9.6). The two sides are
labelled and keep their order; the released notebook gave one flat list (methods 7, trap 3).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ray_autointerp.prompts.shown import Rows, Shown, token_texts

_SIDES = ("promoted", "suppressed")
_LIST = re.compile(r'("[^"]*", ){5}"[^"]*"$')


@dataclass(frozen=True)
class TokenLists:
    """Token texts, strongest first on each side."""

    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]


def shown_from(table: str) -> Callable[[Rows, Shown], str | None]:
    """How a latent's row of `table` is shown; None where there is none or nothing moves."""

    def shown_of(rows: Rows, shown: Shown) -> str | None:
        for row in rows.get(table, ()):
            if row["status"] == "ok":
                promoted, suppressed = (token_texts(row[side], shown) for side in _SIDES)
                return rendered(TokenLists(promoted, suppressed)) if promoted + suppressed else None
        return None

    return shown_of


def rendered(lists: TokenLists) -> str:
    """The two lists as text."""
    return (
        f"Promoted tokens: {quoted(lists.promoted)}\nSuppressed tokens: {quoted(lists.suppressed)}"
    )


def quoted(tokens: Sequence[str]) -> str:
    """A list of tokens in quotation marks; leading spaces and line breaks stay visible."""
    return ", ".join('"' + t.replace("\n", "\\n").replace('"', "'") + '"' for t in tokens) or "none"


def lists_in(text: str) -> str:
    """The lines of a text that are lists as `quoted` writes them, of more than a few tokens."""
    return "\n".join(line for line in text.splitlines() if _LIST.search(line))
