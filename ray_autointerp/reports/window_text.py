"""The corpus's first window for eyes: its text, special tokens marked, and which tokens count."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from ray_autointerp.plan.first_window import FirstWindow, WindowToken
from ray_autointerp.reports.terminal_text import ELLIPSIS, printable

_MOST_TOKENS = 96
"""Shown of a window: seven lines or so of 80 columns."""


def window_text(window: FirstWindow) -> Iterator[RenderableType]:
    """A title, the text as far as it is shown, and a sentence for each kind of special token."""
    tokens = window.tokens
    size = f"{len(tokens):,} tokens"
    if len(tokens) > _MOST_TOKENS:
        size += f", of which {_MOST_TOKENS} are shown"
    source = f"document {printable(window.document_id)}, {printable(window.source)}"
    yield Text(f"The corpus's first window ({source}; {size}), special tokens in ⟦ ⟧:")
    text = Text(overflow="fold")
    for token in tokens[:_MOST_TOKENS]:
        text.append_text(_shown(token))
    if len(tokens) > _MOST_TOKENS:
        text.append(ELLIPSIS, style="dim")
    yield Padding(text, (0, 0, 0, 2), expand=False)
    special = [token for token in tokens if token.is_special]
    if left_out := _different(token for token in tokens if not token.is_counted):
        yield Text(f"No latent is looked at on {left_out} (corpus.exclude_special_tokens).")
    if counted := _different(token for token in special if token.is_counted):
        yield Text(f"These special tokens count as any other: {counted}.")
    yield Text()


def _shown(token: WindowToken) -> Text:
    if not token.is_special:
        return Text(printable(token.text), style="" if token.is_counted else "dim")
    return Text(f"⟦{printable(token.text)}⟧", style="bold cyan" if token.is_counted else "cyan")


def _different(tokens: Iterable[WindowToken]) -> str:
    return ", ".join(dict.fromkeys(printable(token.text) for token in tokens))
