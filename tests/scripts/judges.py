"""Judges that do not read the description, for the scripted backend: `script = "judges:longest"`.

Each has a strong opinion of the sets and a little noise that depends on all it was asked, so that
no exact tie decides. All else is answered as planted.
"""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script

Opinion = Callable[[list[list[str]]], list[float]]
"""The words of each set to the liking of each, in nats."""


def consistent(request: Request) -> Answer:
    """The set that repeats its own words most."""
    return _judged(request, lambda sets: [20 * len(words) / len({*words}) for words in sets])


def varied(request: Request) -> Answer:
    """The set that repeats its own words least."""
    return _judged(request, lambda sets: [-20 * len(words) / len({*words}) for words in sets])


def longest(request: Request) -> Answer:
    """The set with most characters."""
    return _judged(request, lambda sets: [float(sum(map(len, words))) for words in sets])


def leaning(request: Request) -> Answer:
    """The set that it read first."""
    return _judged(request, lambda sets: [3.0, *[0.0] * (len(sets) - 1)])


def always_first(request: Request) -> Answer:
    """The first choice, without a doubt."""
    if request.choices is None:
        return planted_script(request)
    logprobs = dict.fromkeys(request.choices, -math.inf) | {request.choices[0]: 0.0}
    return Answer(request.choices[0], "stop", choice_logprobs=logprobs)


def thinking_aloud(request: Request) -> Answer:
    """As planted, but 6 in 10 answers would begin with another token."""
    answer = planted_script(request)
    if answer.choice_logprobs is None:
        return answer
    kept = {c: logprob + math.log(0.4) for c, logprob in answer.choice_logprobs.items()}
    return replace(answer, choice_logprobs=kept)


def _judged(request: Request, opinion: Opinion) -> Answer:
    if request.choices is None:
        return planted_script(request)
    asked = request.messages[-1].content
    blocks = re.findall(r"^Set \w+:\n(.*?)\n\n", asked, re.M | re.S)
    assert len(blocks) == len(request.choices)
    liked = opinion([block.split() for block in blocks])
    scores = [score + _noise(asked, i) for i, score in enumerate(liked)]
    total = max(scores) + math.log(sum(math.exp(score - max(scores)) for score in scores))
    logprobs = {c: score - total for c, score in zip(request.choices, scores, strict=True)}
    return Answer(max(logprobs, key=lambda c: logprobs[c]), "stop", choice_logprobs=logprobs)


def _noise(asked: str, choice: int) -> float:
    """Between 0 and 1."""
    digest = blake2b(f"{choice}\x1f{asked}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
