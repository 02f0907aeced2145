"""The corpus's first window as `plan` shows it: what the subject will read, token by token."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WindowToken:
    """A token of the window."""

    text: str
    """A character that is split over tokens is whole in the first of them; the rest lack it."""
    is_special: bool
    is_counted: bool
    """Whether latents are looked at on it, unless it is an attention sink."""


@dataclass(frozen=True)
class FirstWindow:
    """The first window of the first document that has one."""

    document_id: str
    source: str
    """Where in the document it was read, and how."""
    tokens: tuple[WindowToken, ...]
