"""The judge of intervention surprisal: what unit was amplified while these texts were written?

The answer is given, a description, and its log-probability is read. The question is the same after
texts that were written without steering, so that nothing but the texts differs.
"""

from collections.abc import Sequence

from ray_autointerp.prompts.judge import listed
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import prompt_text


def ask(texts: Sequence[str]) -> tuple[Message, ...]:
    """The texts of a set."""
    system = prompt_text("intervention_surprisal")
    return (Message("system", system), Message("user", f"Texts:\n{listed(texts)}"))
