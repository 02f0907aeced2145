"""Detection: is the described unit active in one of several texts?

All texts of a prompt are listed and one is asked about, so that the prompts for the others begin
alike: an engine reads the texts once, under many descriptions too, which come after them. The
answer is one token, read as log-probabilities.
"""

from collections.abc import Sequence

from ray_autointerp.prompts.judgement import TextJudgement, asked_to_write
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import prompt_text

CHOICES = ("Yes", "No")


def ask(texts: Sequence[str], description: str, number: int) -> tuple[Message, ...]:
    """Is the unit active in text `number`, counted from 1?"""
    return ask_about("detection", texts, description, f"Is the unit active in text {number}?")


def write(description: str | None) -> tuple[Message, ...]:
    """The prompt that a text in which the unit is active would answer."""
    return asked_to_write("write_text", description)


def ask_about(
    name: str, texts: Sequence[str], description: str, question: str
) -> tuple[Message, ...]:
    """The numbered texts, the description and, last, the question."""
    lines = [f"Text {n}: {' '.join(text.split())}" for n, text in enumerate(texts, start=1)]
    asked = "\n\n".join(["\n".join(lines), f"Description: {description}", question])
    return (Message("system", prompt_text(name)), Message("user", asked))


JUDGEMENT = TextJudgement(ask, write)
