"""The structured form of a description: what activates a latent, what it promotes and suppresses,
and how the two belong together (methods 16).

Asked for as JSON by schema. The description is made of its parts in words, as keywords have them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ray_autointerp.prompts.answer import BadAnswer, read_json
from ray_autointerp.prompts.lint import is_lint
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.repeated_text import list_without_repeats

RELATIONS = ("similar", "composition", "abstraction", "different", "none")
"""How what it promotes relates to what activates it: the paper's kinds, or nothing to relate."""

_PARTS = {"trigger": "fires on", "promotes": "promotes", "suppresses": "suppresses"}
_UNKNOWN = frozenset({"", "none", "null", "unknown", "n/a", "nothing"})
_LETTERS_PER_WORD = 10


def schema(cap_words: int) -> dict[str, Any]:
    """The JSON schema of the answer: an empty string is an unknown part."""
    part = {"type": "string", "maxLength": cap_words * _LETTERS_PER_WORD}
    relation = {"type": "string", "enum": list(RELATIONS)}
    return {
        "type": "object",
        "properties": {**dict.fromkeys(_PARTS, part), "relation": relation},
        "required": [*_PARTS, "relation"],
        "additionalProperties": False,
    }


def answer(parts: Mapping[str, str]) -> str:
    """The answer that says these parts; the others are unknown."""
    return json.dumps(
        {**{name: parts.get(name, "") for name in _PARTS}, "relation": parts["relation"]},
        ensure_ascii=False,
    )


def in_words(parts: Mapping[str, str | None]) -> str:
    """Such as `fires on the names of rivers; promotes "bridge" and "bank"`."""
    return "; ".join(f"{words} {parts[name]}" for name, words in _PARTS.items() if parts.get(name))


def read(
    answered: str, finish_reason: str, asked: Sequence[Message], cap_words: int
) -> dict[str, str | None]:
    """The columns `trigger`, `promotes`, `suppresses`, `relation` and `description`.

    Raises BadAnswer: not the JSON that was asked for, no part that is known, or lint.
    """
    value = read_json(answered, finish_reason)
    names = {*_PARTS, "relation"}
    if not isinstance(value, dict) or set(value) != names or value["relation"] not in RELATIONS:
        raise BadAnswer("unreadable")
    if not all(isinstance(value[name], str) for name in _PARTS):
        raise BadAnswer("unreadable")
    parts = {name: list_without_repeats(" ".join(value[name].split())) for name in _PARTS}
    known = {n: None if text.casefold() in _UNKNOWN else text for n, text in parts.items()}
    description = in_words(known)
    if not description:
        raise BadAnswer("unreadable")
    worked = [json.loads(turn.content) for turn in asked if turn.role == "assistant"]
    answers = [shot[name] for shot in worked for name in _PARTS if shot[name]]
    if any(is_lint(text, asked, answers, cap_words) for text in known.values() if text):
        raise BadAnswer("lint")
    return {
        **known,
        "relation": value["relation"],
        "description": " ".join(description.split()[:cap_words]),
    }
