"""The judge of unseen tokens: which of two lists of tokens does the described latent promote?

Asked as prompts/judge.py asks about texts: one token, the description last. By likelihood a list is
the answer.
"""

from collections.abc import Sequence

from ray_autointerp.prompts.judge import TWO_SET_CHOICES
from ray_autointerp.prompts.judgement import SetJudgement, asked_to_write
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import prompt_text
from ray_autointerp.prompts.token_lists import quoted


def ask(description: str, first: Sequence[str], second: Sequence[str]) -> tuple[Message, ...]:
    """Set A or set B? Each set is tokens that one latent promotes."""
    sets = zip(TWO_SET_CHOICES, (first, second), strict=True)
    blocks = [f"Set {name}:\n{quoted(tokens)}" for name, tokens in sets]
    blocks += [f"Description: {description}", f"{' or '.join(TWO_SET_CHOICES)}?"]
    return (Message("system", prompt_text("judge_tokens")), Message("user", "\n\n".join(blocks)))


def write(description: str | None) -> tuple[Message, ...]:
    """The prompt that a list of tokens, as `quoted` writes it, would answer."""
    return asked_to_write("write_tokens", description)


JUDGEMENT = SetJudgement(ask, write, quoted)
