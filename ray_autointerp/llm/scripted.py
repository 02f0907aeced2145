"""An LLM that is a Python function of the request: for tests, planted runs and the bad day.

The planted script plays an ideal explainer, writer and judge **from the prompt's text alone**; it
never sees a latent's index, so what it gets right is in the prompt and what leaks is in the prompt.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.prompts import detection

_QUOTED = re.compile(r'"([^"]+)"')
_MARKED = re.compile(r"<<([^<>]+)>>")
_NUMBER = re.compile(r"(?<=[^\W\d])\d+$")
"""What tells the members of a family of words apart: meow, meow1, meow2."""
_FIRES_ON = re.compile(r"(?:^Fires on:|\b(?:responds to|fires on)) (.*)$", re.M)
_PROMOTES = re.compile(
    r"(?:^(?:Raised, these become more likely|Promoted tokens|Promotes):|\b(?:leads to|promotes)) "
    r"(.*)$",
    re.M,
)
_FIRST_LIKED = 0.25
"""Judges lean to what they read first: an order that is not balanced or drawn shows in scores."""
_UNSAID_WORDS = 100
"""Words that a given answer may have, each counted once before it is said."""
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
    if request.answer is not None:
        return _loglikelihood(asked, request.answer)
    if request.choices == detection.CHOICES:
        return _about_one_text(asked)
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
    words = _described(asked)
    activating = [f"We saw the {words} near house {n}" for n in range(number)]
    neutral = [f"{_FILLER} {n}" for n in range(number)]
    sides = {"activating": activating, "neutral": neutral}
    return json.dumps({side: sides[side] for side in schema["properties"]})


def _judgement(asked: str, choices: tuple[str, ...]) -> Answer:
    *blocks, description, _ = asked.split("\n\n")
    described = set(_families(_described(description)))
    sets = {
        match[1]: _families(match[2])
        for block in blocks
        if (match := re.match(r"Set (\w+):\n(.*)", block, re.S))
    }
    counts = [float(sum(word in described for word in sets[choice])) for choice in choices]
    counts[0] += _FIRST_LIKED
    return _chosen(choices, counts)


def _about_one_text(asked: str) -> Answer:
    """Yes where the text asked about, or what is marked in it, has a described word."""
    texts, description, question = asked.split("\n\n")
    numbered = dict(re.findall(r"^Text (\d+): (.*)$", texts, re.M))
    number = re.search(r"text (\d+)", question)
    assert number is not None
    text = numbered[number[1]]
    words = " ".join(_MARKED.findall(text)) if "<<" in text else text
    is_there = not set(_families(_described(description))).isdisjoint(_families(words))
    return _chosen(detection.CHOICES, [is_there + _FIRST_LIKED / int(number[1]), not is_there])


def _loglikelihood(asked: str, answer: str) -> Answer:
    """Each word of the answer, or each marked one, is a token: the likelier the more often the
    prompt says it.
    """
    said = Counter(_families(asked))
    total = math.log(_UNSAID_WORDS + said.total())
    words = " ".join(_MARKED.findall(answer)) if "<<" in answer else answer
    return Answer(
        "", "stop", answer_logprobs=[math.log1p(said[w]) - total for w in _families(words)]
    )


def _described(asked: str) -> str:
    """What a description is about: what it quotes, else, of a name, all its words."""
    quoted = _QUOTED.findall(asked)
    if quoted:
        return " ".join(quoted)
    found = re.search(r"^Description: (.*)$", asked, re.M)
    return found[1].replace(" and ", " ") if found else ""


def _chosen(choices: tuple[str, ...], weights: Sequence[float]) -> Answer:
    """The likeliest choice, and the log-probabilities that the weights give."""
    total = math.log(sum(math.exp(weight) for weight in weights))
    logprobs = {choice: weight - total for choice, weight in zip(choices, weights, strict=True)}
    return Answer(max(choices, key=lambda c: logprobs[c]), "stop", choice_logprobs=logprobs)


@lru_cache(maxsize=4096)
def _families(text: str) -> tuple[str, ...]:
    return tuple(_NUMBER.sub("", word) for word in re.findall(r"\w+", text.lower()))
