"""Descriptions that repeat: a worked answer or a run of words copied from a prompt, and one text
that several latents have. Neither tells a latent from others.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from ray_autointerp.prompts.message import Message

LEAST_LATENTS = 3
"""A text of this many latents of an SAE counts as repeated; two may truly be alike."""


def normal_form(text: str) -> str:
    """The words of a text alone: without case, punctuation and layout."""
    return " ".join(re.findall(r"\w+", text.casefold()))


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
