"""A chat completion as servers send it: text, log-probabilities, usage, or an error.

Servers differ in what they put where; what is read here is every form that was seen.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_KEPT, _SHOWN = 2000, 200
"""Characters of a server's message that are read, and that are in an error of ours."""
_UNASKABLE = re.compile(
    r"context.?(length|size|window)|too long|too many tokens|content.?(filter|management)", re.I
)
_NO_CREDIT = re.compile(
    r"insufficient.?(quota|balance|credit|fund)|exceeded your current quota|credit balance is too"
    r" low|(out of|not enough|no) credits?\b|billing.?(hard.?limit|not.?active)|payment required"
    r"|spend(ing)?.?limit",
    re.I,
)
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.S)
_COMES_BACK = re.compile(r"(retry|try again) (in|after) [\d.]", re.I)
"""A quota of tokens per minute comes with a time to ask again; one that is used up does not."""


@dataclass(frozen=True)
class ServerError:
    """An error in a server's answer."""

    message: str
    """In one line, without the key."""
    code: str = ""
    """The server's own name for the kind of error, and for the parameter that it refuses."""
    status: int | None = None
    """The HTTP status that the body names, if it does."""

    @property
    def short(self) -> str:
        """The message's beginning, without a full stop."""
        return self.message[:_SHOWN].rstrip(".")

    @property
    def shown(self) -> str:
        """The same in brackets, for a sentence; empty where there is no message."""
        return f" ({self.short})" if self.short else ""

    @property
    def is_prompt_refused(self) -> bool:
        """Whether this prompt can never be asked: it is too long, or filtered."""
        return bool(_UNASKABLE.search(self.message))

    def is_out_of_credit(self, status: int) -> bool:
        """Whether money is missing, rather than patience."""
        if status == 402 or _NO_CREDIT.search(self.code):
            return True
        if status not in (400, 403, 429) and self.status is None:
            return False
        return bool(_NO_CREDIT.search(self.message)) and not _COMES_BACK.search(self.message)


def choice_of(body: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A completion's first choice and its usage; None if the body is no completion."""
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        if not isinstance(choice["message"], dict):
            return None
        return choice, reply.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def error_of(body: bytes, key: str = "") -> ServerError:
    """The error in a body that is no completion; `key` is not repeated."""
    text = body.decode(errors="replace")
    if key:
        text = text.replace(key, "...")
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    codes: list[str] = []
    status = None
    while isinstance(value, dict):
        for name in ("code", "type", "param"):
            found = value.get(name)
            if isinstance(found, int) and 400 <= found < 600:
                status = found
            elif isinstance(found, str):
                codes.append(found)
        value = next((value[k] for k in ("error", "message", "detail") if value.get(k)), str(value))
    message = " ".join(str(value).split())[:_KEPT]
    return ServerError(message, " ".join(codes), status)


def text_of(choice: Mapping[str, Any]) -> str:
    """The answer's text; a filtered or refused answer has none."""
    if choice.get("finish_reason") == "content_filter":
        return ""
    content = choice["message"].get("content")
    if isinstance(content, list):  # parts, as multimodal servers send them
        parts = [part if isinstance(part, str) else part.get("text") or "" for part in content]
        return "".join(parts)
    return str(content) if content else ""


def without_fence(text: str) -> str:
    """JSON without the code fence that models put around it where nothing forbids it."""
    fenced = _FENCED.fullmatch(text)
    return fenced[1] if fenced else text


def first_token_logprobs(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The likeliest first tokens with their log-probabilities; fewer than two are of no use.

    They stand in `logprobs.content[0].top_logprobs`, or `logprobs` is that list of tokens itself,
    or has `top_logprobs`, a list of mappings, as the older completions had.
    """
    listed = choice.get("logprobs")
    if isinstance(listed, dict):
        listed = listed.get("content") or listed.get("top_logprobs")
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, dict):
        return []
    if "token" not in first:
        pairs = list(first.items())
    else:
        tops = first.get("top_logprobs") or [first]
        pairs = [(top.get("token"), top.get("logprob")) for top in tops if isinstance(top, dict)]
    return [
        (token, float(logprob))
        for token, logprob in pairs
        if isinstance(token, str) and isinstance(logprob, int | float) and math.isfinite(logprob)
    ]


def choice_logprobs(
    choices: Sequence[str], listed: Sequence[tuple[str, float]]
) -> Mapping[str, float] | None:
    """Each choice's log-probability, from the likeliest first tokens that a server lists.

    A token counts for a choice that it spells, or begins and no other choice does; with and
    without a space before, probabilities add up. A choice that is not listed has at most the least
    listed log-probability, and gets that; if none is listed, the answer is None.
    """
    found: dict[str, float] = {}
    for token, logprob in listed:
        spelt = chosen(choices, token)
        if spelt is not None:
            found[spelt] = _added(found.get(spelt, -math.inf), logprob)
    if not found:
        return None
    least = min(logprob for _, logprob in listed)
    return {choice: found.get(choice, least) for choice in choices}


def chosen(choices: Sequence[str], token: str) -> str | None:
    """The one choice that a token spells, or begins and no other does."""
    token = token.strip()
    spelt = [c for c in choices if c == token] or [c for c in choices if c.startswith(token)]
    return spelt[0] if token and len(spelt) == 1 else None


def _added(one: float, other: float) -> float:
    larger, smaller = max(one, other), min(one, other)
    return larger if smaller == -math.inf else larger + math.log1p(math.exp(smaller - larger))
