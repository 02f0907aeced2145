"""LLMs on a bad day, for the scripted backend: `script = "bad_day:garbage"`."""

import os
import time
from dataclasses import replace

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script


def garbage(request: Request) -> Answer:
    """No description, no JSON, no choice."""
    return Answer("\x00?? \ufffd", "stop")


def silent_judge(request: Request) -> Answer:
    """Explains and writes as planted; judgements come without log-probabilities."""
    answer = planted_script(request)
    return answer if request.choices is None else Answer(answer.text, "stop")


def refusing(request: Request) -> Answer:
    return Answer("I'm sorry, but I can't help with that.", "stop")


def truncated(request: Request) -> Answer:
    """Everything is cut off at the limit, except judgements, which are one token."""
    whole = planted_script(request)
    if request.choices is not None:
        return whole
    return Answer(whole.text[: len(whole.text) // 2], "length")


def not_asked(request: Request) -> Answer:
    return Answer("the prompt is too long", "error")


def deadly(request: Request) -> Answer:
    """An explainer's prompt that kills whoever answers it."""
    if request.kind == "text" and "owl" in request.messages[-1].content:
        os._exit(1)
    return planted_script(request)


def dead(request: Request) -> Answer:
    """Whatever is asked kills whoever answers it."""
    os._exit(1)


def slow(request: Request) -> Answer:
    """As planted, after a while: time enough to be killed at work."""
    time.sleep(0.02)
    return planted_script(request)


def dear(request: Request) -> Answer:
    """As planted, after a while, and every prompt counts as a hundred tokens."""
    return replace(slow(request), num_prompt_tokens=100)
