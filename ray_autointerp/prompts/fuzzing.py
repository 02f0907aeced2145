"""Fuzzing: do the marks in one of several texts stand on what the description describes?"""

from collections.abc import Sequence

from ray_autointerp.prompts.detection import ask_about
from ray_autointerp.prompts.judgement import TextJudgement, asked_to_write
from ray_autointerp.prompts.message import Message


def ask(texts: Sequence[str], description: str, number: int) -> tuple[Message, ...]:
    """Are the marks of text `number`, counted from 1, on what the description says?"""
    question = f"Are the marked tokens of text {number} what is described?"
    return ask_about("fuzzing", texts, description, question)


def write(description: str | None) -> tuple[Message, ...]:
    """The prompt that a text with marks on what is described would answer."""
    return asked_to_write("write_marked_text", description)


JUDGEMENT = TextJudgement(ask, write)
