"""Fuzzing: do the marks in one of several texts stand on what the description describes?"""

from collections.abc import Sequence

from ray_autointerp.prompts.detection import ask_about
from ray_autointerp.prompts.message import Message


def ask(texts: Sequence[str], description: str, number: int) -> tuple[Message, ...]:
    """Are the marks of text `number`, counted from 1, on what the description says?"""
    question = f"Are the marked tokens of text {number} what is described?"
    return ask_about("fuzzing", texts, description, question)
