"""What an explainer asks about one latent, and how the answer becomes columns of `descriptions`.

Instructions and worked examples come first and this latent last, so that prompts share a prefix;
the cap is the end: asked again about the same evidence at another cap, all but it is cached.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_autointerp.prompts import structured
from ray_autointerp.prompts.answer import read_description
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import WORKED_CAP, WorkedExample, prompt_text, worked_examples
from ray_autointerp.prompts.token_lists import lists_in

Columns = Mapping[str, str | None]


@dataclass(frozen=True)
class Question:
    """A prompt, and what is made of its answer."""

    messages: tuple[Message, ...]
    read: Callable[[str, str], Columns]
    """Answer and finish reason to columns of `descriptions`. Raises BadAnswer."""
    json_schema: Mapping[str, Any] | None = None


def ask(name: str, evidence: str, cap_words: int, is_structured: bool) -> Question:
    """The question of `texts/<name>` about rendered evidence, in one sentence or by parts."""
    return ask_with(name, worked_examples(name), evidence, cap_words, is_structured)


def ask_with(
    name: str,
    shots: Sequence[WorkedExample],
    evidence: str,
    cap_words: int,
    is_structured: bool,
) -> Question:
    """The same with other worked examples."""
    instructions = prompt_text(name)
    if is_structured:
        # The last paragraph of an explainer's text says what its answer is.
        told, _, _ = instructions.rpartition("\n\n")
        instructions = f"{told}\n\n{prompt_text('structured')}"
    messages = [Message("system", instructions)]
    for shot in shots:
        answer = structured.answer(shot.parts) if is_structured else shot.assistant
        messages.append(Message("user", _capped(str(shot.user), WORKED_CAP)))
        messages.append(Message("assistant", answer))
    asked = (*messages, Message("user", _capped(evidence, cap_words)))
    # No answer may repeat these: what is before this latent's own turn, and the lists in that.
    unrepeatable = (*messages, Message("user", lists_in(evidence)))
    if is_structured:
        return Question(
            asked,
            lambda answer, reason: structured.read(answer, reason, unrepeatable, cap_words),
            structured.schema(cap_words),
        )
    return Question(
        asked,
        # One cap for every method (methods 16): a longer answer does not get to say more.
        lambda answer, reason: {
            "description": first_words(
                read_description(answer, reason, unrepeatable, cap_words), cap_words
            )
        },
    )


def first_words(text: str, number: int) -> str:
    """At most so many words of a text, no comma after the last."""
    return " ".join(text.split()[:number]).rstrip(",;")


def _capped(evidence: str, cap_words: int) -> str:
    return f"{evidence}\n\n{prompt_text('cap', cap_words=cap_words)}"
