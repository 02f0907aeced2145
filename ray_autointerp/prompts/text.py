"""Prompt texts: Markdown files and worked examples beside the code, filled in strictly.

Placeholders are `$name` (prompts are full of braces); a missing or an unused name is an error,
so that text and code cannot drift apart.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from string import Template

from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.neutral import NEUTRAL_PROMPTS, NEUTRAL_SENTENCES

_TEXTS = files("ray_autointerp.prompts") / "texts"

WORKED_CAP = 20
"""The cap on words under which the worked examples of explainers are answered."""


@dataclass(frozen=True)
class WorkedExample:
    """One question of a prompt's worked examples, and its answer."""

    user: str | Mapping[str, str]
    """What is shown; of an ensemble, by kind of evidence."""
    assistant: str
    parts: Mapping[str, str] = field(default_factory=dict)
    """The same answer in the structured form."""


def prompt_text(name: str, **values: str | int) -> str:
    """The text of `texts/<name>.md` with its placeholders filled. Raises KeyError."""
    template = Template(_read(f"{name}.md").rstrip("\n"))
    unused = set(values) - set(template.get_identifiers())
    if unused:
        raise KeyError(f"the prompt text {name} has no placeholder {sorted(unused)}")
    return template.substitute({key: str(value) for key, value in values.items()})


def worked_examples(name: str) -> tuple[WorkedExample, ...]:
    """The worked examples of `texts/<name>.json`."""
    return tuple(WorkedExample(**shot) for shot in json.loads(_read(f"{name}.json")))


def few_shots(name: str) -> tuple[Message, ...]:
    """Worked examples as the turns of a chat."""
    return tuple(
        message
        for shot in worked_examples(name)
        for message in (Message("user", str(shot.user)), Message("assistant", shot.assistant))
    )


def text_digests() -> dict[str, str]:
    """By name, the digest of each prompt text with its worked examples: a changed word is another
    identity of what asks with it. `neutral` are the beginnings of steered texts; the neutral
    sentences are those of the input score.
    """
    contents: defaultdict[str, bytes] = defaultdict(bytes)
    for file in sorted(_TEXTS.iterdir(), key=lambda file: file.name):
        name, _, kind = file.name.partition(".")
        contents[name] += kind.encode() + b"\0" + file.read_bytes()
    contents["neutral"] = json.dumps(NEUTRAL_PROMPTS).encode()
    contents["neutral_sentences"] = json.dumps(NEUTRAL_SENTENCES).encode()
    return {name: hashlib.sha256(held).hexdigest()[:16] for name, held in contents.items()}


@cache
def _read(file: str) -> str:
    return (_TEXTS / file).read_text(encoding="utf-8")
