"""Judges of detection and fuzzing that do not read the description, and a log of all they see."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script
from ray_autointerp.prompts.detection import CHOICES


def _judge(log_odds: Callable[[list[str], int], float]) -> Callable[[Request], Answer]:
    """A judge by the texts of a prompt and the number of the one asked about."""

    def judge(request: Request) -> Answer:
        if request.choices != CHOICES:
            return planted_script(request)
        texts, _, question = request.messages[-1].content.split("\n\n")
        found = re.search(r"text (\d+)", question)
        assert found is not None
        listed = [line.split(": ", 1)[1] for line in texts.splitlines()]
        yes = log_odds(listed, int(found[1]))
        return Answer("Yes", "stop", choice_logprobs={"Yes": yes, "No": 0.0})

    return judge


def _words(texts: list[str], number: int) -> float:
    return float(len(texts[number - 1].replace("<<", " ").replace(">>", " ").split()))


def _marks(texts: list[str], number: int) -> float:
    """How many marks, and how far into the text."""
    before, *after = texts[number - 1].split("<<")
    return 100.0 * len(after) + len(before.split())


by_place = _judge(lambda _, number: -float(number))
by_number_of_texts = _judge(lambda texts, _: float(len(texts)))
by_length = _judge(_words)
by_marks = _judge(_marks)
always_yes = _judge(lambda *_: 3.0)


def listening(request: Request) -> Answer:
    """The planted judge; `$HEARD` gets every prompt with texts."""
    if request.choices == CHOICES:
        with Path(os.environ["HEARD"]).open("a") as file:
            file.write(json.dumps(request.messages[-1].content) + "\n")
    return planted_script(request)
