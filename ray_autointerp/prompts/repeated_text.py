"""Descriptions that repeat: a worked answer or a run of words copied from a prompt, one text that
several latents have (neither tells a latent from others), and items of a list said again.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from ray_autointerp.prompts.message import Message

LEAST_LATENTS = 3
"""A text of this many latents of an SAE counts as repeated; two may truly be alike."""

_MOST_WORDS = 3
"""Of an item without quotation marks: more are a clause, after which a list begins anew."""

_QUOTED = re.compile(r'"[^"]*"')


def normal_form(text: str) -> str:
    """The words of a text alone: without case, punctuation and layout."""
    return _words(text.casefold())


def worked_answers(messages: Iterable[Message]) -> tuple[str, ...]:
    """The answers that a prompt gives in its worked examples."""
    return tuple(message.content for message in messages if message.role == "assistant")


def repeats_any(text: str, worked: Iterable[str]) -> bool:
    """Whether a text holds the whole of a worked answer."""
    words = f" {normal_form(text)} "
    return any(f" {normal_form(answer)} " in words for answer in worked)


def repeats_run(text: str, others: Iterable[str], num_words: int) -> bool:
    """Whether a text repeats a run of so many words of one of the others."""
    words = normal_form(text).split()
    runs = [" ".join(words[i : i + num_words]) for i in range(len(words) - num_words + 1)]
    if not runs:
        return False
    forms = [f" {normal_form(other)} " for other in others]
    return any(f" {run} " in form for run in runs for form in forms)


def repeated(texts: Mapping[int, str]) -> frozenset[int]:
    """The latents whose text at least `LEAST_LATENTS` of them have."""
    forms = {latent: normal_form(text) for latent, text in texts.items()}
    counts = Counter(forms.values())
    return frozenset(latent for latent, form in forms.items() if counts[form] >= LEAST_LATENTS)


def list_without_repeats(text: str) -> str:
    """A text whose lists, items between commas, name nothing twice: small models go in circles.

    An item is a quoted piece or a few words, with or without `and`. A longer one begins a list of
    its own, as `leads to` does in `fires on "a", "b", and leads to "a", "b"`. Case tells items
    apart, since it tells tokens apart.
    """
    kept: list[str] = []
    said: set[str] = set()
    for item in re.split(r",(?=\s)", text):
        bare = re.sub(r"^(?:and|or)\s+", "", item.strip()).strip(". ")
        quoted = _QUOTED.findall(bare)
        is_quoted = [bare] == quoted
        is_item = is_quoted or (not quoted and len(bare.split()) <= _MOST_WORDS)
        name = _words(quoted[-1] if quoted else bare)
        if not is_item:
            said = set()
        elif name and name in said:
            continue
        said.add(name)
        kept.append(item)
    return ",".join(kept)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))
