"""An LLM that is a Python function of the request: for tests, planted runs and the bad day.

The planted script plays an ideal explainer, writer and judge **from the prompt's text alone**; it
never sees a latent's index, so what it gets right is in the prompt and what leaks is in the prompt.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable

from ray_autointerp.llm.client import Answer, Request

_QUOTED = re.compile(r'"([^"]+)"')
_MARKED = re.compile(r"<<([^<>]+)>>")
_FIRES_ON = re.compile(r"(?:^Fires on:|\b(?:responds to|fires on)) (.*)$", re.M)
_PROMOTES = re.compile(
    r"(?:^(?:Raised, these become more likely|Promoted tokens|Promotes):|\b(?:leads to|promotes)) "
    r"(.*)$",
    re.M,
)
_FIRST_LIKED = 0.25
"""Judges lean to what they read first: an order that is not balanced or drawn shows in scores."""
_FILLER = "We saw that the house was near the old road and the evening was quiet"


class ScriptedLLM:
    """Answers by calling the script."""

    def __init__(self, script: Callable[[Request], Answer]) -> None:
        self._script = script

    async def start(self) -> None:
        """Nothing to start."""

    async def ask(self, request: Request) -> Answer:
        """What the script answers."""
        return self._script(request)

    async def close(self) -> None:
        """Nothing is held."""


def planted_script(request: Request) -> Answer:
    """The ideal answers: name the marked and the promoted word, write with the word, count it."""
    asked = request.messages[-1].content
    if request.choices is not None:
        return _judgement(asked, request.choices)
    if request.json_schema is not None and "trigger" in request.json_schema["properties"]:
        return Answer(_structured(asked), "stop")
    if request.json_schema is not None:
        return Answer(_sentences(asked, request.json_schema), "stop")
    return Answer(_explanation(asked), "stop")


def _explanation(asked: str) -> str:
    fires_on, promotes = _found(asked)
    if asked.startswith("Fires on: "):  # a name is wanted
        return " and ".join(word for word in (fires_on, promotes) if word)
    parts = [f'responds to "{fires_on}"'] if fires_on else []
    parts += [f'leads to "{promotes}"'] if promotes else []
    return " and ".join(parts) or "nothing at all"


def _structured(asked: str) -> str:
    fires_on, promotes = (word and f'"{word}"' for word in _found(asked))
    relation = "different" if fires_on and promotes else "none"
    return json.dumps(
        {"trigger": fires_on, "promotes": promotes, "suppresses": "", "relation": relation}
    )


def _found(asked: str) -> tuple[str, str]:
    """The word that a latent fires on, and the one that it promotes; empty where none is shown."""
    marked = Counter(token.strip() for token in _MARKED.findall(asked))
    fires_on = marked.most_common(1)[0][0] if marked else _first_of(_FIRES_ON, asked)
    return fires_on, _first_of(_PROMOTES, asked)


def _first_of(said: re.Pattern[str], asked: str) -> str:
    found = said.search(asked)
    tokens = _QUOTED.findall(found[1]) if found else []
    return tokens[0].strip() if tokens else ""


def _sentences(asked: str, schema: object) -> str:
    assert isinstance(schema, dict)
    number = schema["properties"]["activating"]["minItems"]
    words = " ".join(_QUOTED.findall(asked))
    activating = [f"We saw the {words} near house {n}" for n in range(number)]
    neutral = [f"{_FILLER} {n}" for n in range(number)]
    return json.dumps({"activating": activating, "neutral": neutral})


def _judgement(asked: str, choices: tuple[str, ...]) -> Answer:
    *blocks, description, _ = asked.split("\n\n")
    quoted = {word for text in _QUOTED.findall(description) for word in text.lower().split()}
    sets = {
        match[1]: re.findall(r"\w+", match[2].lower())
        for block in blocks
        if (match := re.match(r"Set (\w+):\n(.*)", block, re.S))
    }
    counts = [float(sum(word in quoted for word in sets[choice])) for choice in choices]
    counts[0] += _FIRST_LIKED
    total = math.log(sum(math.exp(count) for count in counts))
    logprobs = {c: count - total for c, count in zip(choices, counts, strict=True)}
    return Answer(max(choices, key=lambda c: logprobs[c]), "stop", choice_logprobs=logprobs)
