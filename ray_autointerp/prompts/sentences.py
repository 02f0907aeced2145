"""Sentences for the input score: some that should activate the latent, some that should not.

The writer sees the description alone (paper 3.1) and answers as JSON by schema.
"""

from dataclasses import dataclass
from typing import Any

from ray_autointerp.prompts.answer import BadAnswer, read_json
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import few_shots, prompt_text

_LONGEST = 160
"""Characters of one sentence: a small writer that rambles is cut by the grammar."""


@dataclass(frozen=True)
class Sentences:
    """What the writer gave."""

    activating: tuple[str, ...]
    neutral: tuple[str, ...]


def ask(description: str, num_sentences: int) -> tuple[Message, ...]:
    """Ask for `num_sentences` of each kind; fixed part first, the description last."""
    return (
        Message("system", prompt_text("sentences")),
        *few_shots("sentences"),
        Message("user", _rendered(description, num_sentences)),
    )


def _rendered(description: str, num_sentences: int) -> str:
    return f"Description: {description}\nSentences of each kind: {num_sentences}"


def schema(num_sentences: int) -> dict[str, Any]:
    """The JSON schema of the answer."""
    sentence = {"type": "string", "minLength": 8, "maxLength": _LONGEST}
    items = {
        "type": "array",
        "items": sentence,
        "minItems": num_sentences,
        "maxItems": num_sentences,
    }
    return {
        "type": "object",
        "properties": {"activating": items, "neutral": items},
        "required": ["activating", "neutral"],
        "additionalProperties": False,
    }


def read(answer: str, finish_reason: str, num_sentences: int) -> Sentences:
    """The sentences; exactly as many of each kind as were asked for. Raises BadAnswer."""
    value = read_json(answer, finish_reason)
    if not isinstance(value, dict):
        raise BadAnswer("unreadable")
    sides = [value.get(side) for side in ("activating", "neutral")]
    for side in sides:
        is_whole = (
            isinstance(side, list)
            and len(side) == num_sentences
            and all(isinstance(text, str) and text.strip() for text in side)
        )
        if not is_whole:
            raise BadAnswer("unreadable")
    return Sentences(tuple(sides[0] or ()), tuple(sides[1] or ()))
