"""Prompt texts: Markdown files beside the code, filled in strictly.

Placeholders are `$name` (prompts are full of braces); a missing or an unused name is an error,
so that text and code cannot drift apart.
"""

import hashlib
import json
from importlib.resources import files
from string import Template

from ray_autointerp.prompts.message import Message

_TEXTS = files("ray_autointerp.prompts") / "texts"


def prompt_text(name: str, **values: str | int) -> str:
    """The text of `texts/<name>.md` with its placeholders filled. Raises KeyError."""
    template = Template((_TEXTS / f"{name}.md").read_text(encoding="utf-8").rstrip("\n"))
    unused = set(values) - set(template.get_identifiers())
    if unused:
        raise KeyError(f"the prompt text {name} has no placeholder {sorted(unused)}")
    return template.substitute({key: str(value) for key, value in values.items()})


def few_shots(name: str) -> tuple[Message, ...]:
    """Worked examples of `texts/<name>.json`: a list of {user, assistant}."""
    shots = json.loads((_TEXTS / f"{name}.json").read_text(encoding="utf-8"))
    return tuple(
        message
        for shot in shots
        for message in (Message("user", shot["user"]), Message("assistant", shot["assistant"]))
    )


def explainer_prompt(name: str, evidence: str, cap_words: int) -> tuple[Message, ...]:
    """Instructions, worked examples, evidence and, last, the longest answer.

    Asked again about the same evidence at another cap, all but the end is cached.
    """
    capped = f"{evidence}\n\n{prompt_text('cap', cap_words=cap_words)}"
    return (Message("system", prompt_text(name)), *few_shots(name), Message("user", capped))


def texts_digest() -> str:
    """One digest over every prompt text: a changed word is another identity."""
    content = hashlib.sha256()
    for file in sorted(_TEXTS.iterdir(), key=lambda file: file.name):
        content.update(file.name.encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:16]
