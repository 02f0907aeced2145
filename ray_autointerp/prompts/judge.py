"""The judge of the output score: which set of texts was steered by the described latent?

Answers are one token out of a fixed list, read as log-probabilities; no paragraph to parse. The
text says how many sets there are and how many come from other latents, which the released
notebook got wrong (methods 7, trap 21). Both orders are asked by the caller. The description comes
last: the same sets are judged under many descriptions, and an engine reads them once. By likelihood
a set is the answer.
"""

from collections.abc import Sequence

from ray_autointerp.prompts.judgement import SetJudgement, asked_to_write
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import prompt_text

TWO_SET_CHOICES = ("A", "B")
THREE_SET_CHOICES = ("1", "2", "3")


def ask_two(description: str, first: Sequence[str], second: Sequence[str]) -> tuple[Message, ...]:
    """Set A or set B? Each set is texts of one latent, which begin as the other's do."""
    return _ask("judge_two", description, TWO_SET_CHOICES, (first, second))


def ask_three(description: str, sets: Sequence[Sequence[str]]) -> tuple[Message, ...]:
    """The paper's question: set 1, 2 or 3?"""
    return _ask("judge_three", description, THREE_SET_CHOICES, sets)


def write(description: str | None) -> tuple[Message, ...]:
    """The prompt that a set of steered texts, as `listed` writes it, would answer."""
    return asked_to_write("write_texts", description)


def listed(texts: Sequence[str]) -> str:
    """Texts, a line each."""
    return "\n".join(f"- {' '.join(text.split())}" for text in texts)


def _ask(
    name: str, description: str, names: Sequence[str], sets: Sequence[Sequence[str]]
) -> tuple[Message, ...]:
    blocks = []
    for label, texts in zip(names, sets, strict=True):
        blocks.append(f"Set {label}:\n{listed(texts)}")
    blocks.append(f"Description: {description}")
    blocks.append(f"{', '.join(names[:-1])} or {names[-1]}?")
    return (Message("system", prompt_text(name)), Message("user", "\n\n".join(blocks)))


TWO_SETS = SetJudgement(ask_two, write, listed)
