"""Named keywords: a short name for what a latent's keywords have in common, and the keywords.

The LLM sees the two lists alone. On its own a name is too broad to write sentences from; name and
keywords together were the best description of nine (methods 19).
"""

import re
from dataclasses import dataclass

from ray_autointerp.prompts.answer import BadAnswer, read_description
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.question import Columns, Question
from ray_autointerp.prompts.shown import Rows, Shown
from ray_autointerp.prompts.structured import in_words
from ray_autointerp.prompts.text import few_shots, prompt_text

MAX_NAME_WORDS = 8

_ITEM = re.compile(r'"(?:\\.|[^"\\])*"|[^", ][^",]*')
"""A keyword of a list: quoted, or in words where quotes would show nothing."""


@dataclass(frozen=True)
class Keywords:
    """Both lists as `keywords` quotes them; None where one is empty."""

    fires_on: str | None
    promotes: str | None


def keywords_from(rows: Rows, _: Shown) -> Keywords | None:
    """What the description by keywords quotes; None where there is none."""
    for row in rows.get("descriptions/keywords", ()):
        if row["status"] == "ok":
            return Keywords(row["trigger"], row["promotes"])
    return None


def ask(name: str, keywords: Keywords, cap_words: int, _: bool) -> Question:
    """For a name of at most eight words; never in the structured form, as keywords have parts."""
    shown = (
        f"Fires on: {keywords.fires_on or 'nothing'}\nPromotes: {keywords.promotes or 'nothing'}"
    )
    asked = (Message("system", prompt_text(name)), *few_shots(name))

    def read(answer: str, finish_reason: str) -> Columns:
        found = read_description(answer, finish_reason, asked, cap_words).rstrip(".")
        if len(found.split()) > min(MAX_NAME_WORDS, cap_words):
            raise BadAnswer("lint")
        return {
            "name": found,
            "description": described(found, keywords, cap_words),
            "trigger": keywords.fires_on,
            "promotes": keywords.promotes,
        }

    return Question((*asked, Message("user", shown)), read)


def described(name: str, keywords: Keywords, cap_words: int) -> str:
    """`name; fires on "a", "b"; promotes "c"`; of the longer list, the last keywords are cut until
    the whole has at most `cap_words` words.
    """
    lists = {
        "trigger": _ITEM.findall(keywords.fires_on or ""),
        "promotes": _ITEM.findall(keywords.promotes or ""),
    }
    while True:
        parts = {side: ", ".join(items) for side, items in lists.items()}
        words = in_words(parts)
        text = f"{name}; {words}" if words else name
        if len(text.split()) <= cap_words:
            return text
        max(lists.values(), key=len).pop()
