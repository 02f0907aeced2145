"""Sentences for the input score: some that should activate the latent, some that should not.

The writer sees the description alone (paper 3.1) and answers as JSON by schema. It is asked for
activating sentences only, unless neutral ones are to be written too, as the paper has it.
"""

from dataclasses import dataclass
from typing import Any

from ray_autointerp.prompts.answer import BadAnswer, read_json
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.neutral import NEUTRAL_SENTENCES
from ray_autointerp.prompts.text import few_shots, prompt_text
from ray_autointerp.records.keys import hash_order

ACTIVATING, BOTH = "activating_sentences", "sentences"
"""The prompt texts: for activating sentences, and for neutral ones too."""

SIDES: dict[str, tuple[str, ...]] = {
    ACTIVATING: ("activating",),
    BOTH: ("activating", "neutral"),
}
"""By prompt text, the kinds of sentences of an answer."""

_LONGEST = 160
"""Characters of one sentence: a small writer that rambles is cut by the grammar."""


@dataclass(frozen=True)
class Sentences:
    """What the writer gave."""

    activating: tuple[str, ...]
    neutral: tuple[str, ...] = ()
    """Empty where none were asked for."""


def ask(name: str, description: str, num_sentences: int) -> tuple[Message, ...]:
    """By the prompt text `name`, for `num_sentences` of each kind; fixed part first, the
    description last.
    """
    number = "Sentences of each kind" if name == BOTH else "Sentences"
    return (
        Message("system", prompt_text(name)),
        *few_shots(name),
        Message("user", f"Description: {description}\n{number}: {num_sentences}"),
    )


def schema(name: str, num_sentences: int) -> dict[str, Any]:
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
        "properties": dict.fromkeys(SIDES[name], items),
        "required": [*SIDES[name]],
        "additionalProperties": False,
    }


def read(name: str, answer: str, finish_reason: str, num_sentences: int) -> Sentences:
    """The sentences; exactly as many of each kind as were asked for. Raises BadAnswer."""
    value = read_json(answer, finish_reason)
    if not isinstance(value, dict):
        raise BadAnswer("unreadable")
    sides = [value.get(side) for side in SIDES[name]]
    if not all(_is_whole(side, num_sentences) for side in sides):
        raise BadAnswer("unreadable")
    return Sentences(*(tuple(side or ()) for side in sides))


def neutral_sentences(latent: int, draw: int, number: int, seed: int) -> tuple[str, ...]:
    """So many of the package's for one draw of a latent, by hash: the draws of a latent share none
    until all are used.
    """
    order = hash_order(range(len(NEUTRAL_SENTENCES)), seed, "neutral sentence", latent)
    places = range(draw * number, (draw + 1) * number)
    return tuple(NEUTRAL_SENTENCES[order[place % len(order)]] for place in places)


def _is_whole(side: object, num_sentences: int) -> bool:
    return (
        isinstance(side, list)
        and len(side) == num_sentences
        and all(isinstance(text, str) and text.strip() for text in side)
    )
