"""What a judge is asked, in both of the ways that `score.judged_by` names.

By choice it answers a question. By likelihood it says nothing: the prompt asks for what the
described unit makes likely, and the log-probability of what there is, as its answer, is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import prompt_text

_NOT_KNOWN = "not known"

Write = Callable[[str | None], tuple[Message, ...]]
"""A description, or None for no description, to the prompt that asks to write what it fits."""


@dataclass(frozen=True)
class TextJudgement:
    """Of single texts: does the description fit one?"""

    ask: Callable[[Sequence[str], str, int], tuple[Message, ...]]
    """The texts of a prompt, a description and the number of a text, from 1."""
    write: Write


@dataclass(frozen=True)
class SetJudgement:
    """Of two sets of texts or tokens: which does the description fit?"""

    ask: Callable[[str, Sequence[str], Sequence[str]], tuple[Message, ...]]
    """A description and the sets."""
    write: Write
    written: Callable[[Sequence[str]], str]
    """A set as the answer to `write`."""


def asked_to_write(name: str, description: str | None) -> tuple[Message, ...]:
    """The prompt of `texts/<name>.md`."""
    asked = f"Description: {_NOT_KNOWN if description is None else description}"
    return (Message("system", prompt_text(name)), Message("user", asked))
