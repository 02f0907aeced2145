"""Reading answers: a record, or a status. Nothing is guessed, and no more is repaired than what a
list says twice.

An answer that hit its token limit is truncated, one that declines is refused, one that is not
what was asked for is unreadable, and a description that leaks or repeats the prompt is lint. Each
becomes a row with that status and the raw answer beside it.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from ray_autointerp.prompts.lint import is_lint
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.repeated_text import list_without_repeats, worked_answers

AnswerStatus = Literal["refused", "truncated", "unreadable", "lint"]


class BadAnswer(Exception):  # noqa: N818  (an outcome of a row, not a failure of the program)
    """An answer that is no record; `status` says why."""

    def __init__(self, status: AnswerStatus) -> None:
        super().__init__(status)
        self.status: AnswerStatus = status


_REFUSAL = re.compile(
    r"^\W*(i'?m sorry|sorry,|i can(no|')t|i am (not able|unable)|i'm (not able|unable)|"
    r"as an ai\b|unfortunately, i)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^\W*(?:(?:the )?(?:description|explanation|answer|summary|name)\s*(?:is)?\s*[:\-]\s*"
    r"|(?:this|the) (?:neuron|latent|feature|unit)(?: \d+)? "
    r"(?:fires|activates|responds|is active|is activated|triggers)"
    r"(?: strongly| most)? (?:on|to|for|in|by) "
    r"|(?:the|a|one) (?:common |main |shared )?(?:pattern|theme|thread)(?: here)? "
    r"(?:is|seems to be|appears to be)(?: that of)? )",
    re.IGNORECASE,
)


def read_description(
    answer: str,
    finish_reason: str,
    asked: Sequence[Message] = (),
    cap_words: int | None = None,
) -> str:
    """The description in an answer, without boilerplate opening, quotes and repeated items.

    `asked` are the turns of the prompt that it may not repeat. Raises BadAnswer: nothing said,
    cut off by the token limit, declined, or lint (prompts/lint.py).
    """
    if _REFUSAL.match(answer):
        raise BadAnswer("refused")
    lines = [line.strip() for line in answer.strip().splitlines() if line.strip()]
    if not lines:
        raise BadAnswer("truncated" if finish_reason == "length" else "unreadable")
    text = _OPENING.sub("", lines[0], count=1).strip().strip("`*")
    if len(text) > 1 and text[0] == text[-1] == '"' and text.count('"') == 2:
        text = text[1:-1].strip()
    if finish_reason == "length" and len(lines) == 1:
        text = _finished(text)
    text = list_without_repeats(text)
    if not re.search(r"\w", text):
        raise BadAnswer("unreadable")
    if is_lint(text, asked, worked_answers(asked), cap_words):
        raise BadAnswer("lint")
    return text


def read_json(answer: str, finish_reason: str) -> Any:
    """The JSON value that is the whole answer. Raises BadAnswer."""
    if _REFUSAL.match(answer):
        raise BadAnswer("refused")
    try:
        return json.loads(answer)
    except ValueError as error:
        status: AnswerStatus = "truncated" if finish_reason == "length" else "unreadable"
        raise BadAnswer(status) from error


def _finished(text: str) -> str:
    """What was finished before the limit: sentences, or a list that had begun to repeat itself.
    Raises BadAnswer if neither was.
    """
    end = max(text.rfind(mark) for mark in (". ", "; ", ".", ";"))
    if end > 0:
        return text[: end + 1].rstrip("; ")
    items, _, _ = text.rpartition(",")
    if list_without_repeats(items) == items:
        raise BadAnswer("truncated")
    return items
