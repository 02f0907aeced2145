"""What one server takes of chat completions, found by asking it a tiny question.

Servers refuse parameters that others know. A refusal names the parameter, as a rule: the next
question leaves it out or renames it, until one is answered. Knows no HTTP.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ray_autointerp.llm.client import Request
from ray_autointerp.llm.completion import ServerError
from ray_autointerp.plan.step import AnswerKind
from ray_autointerp.prompts.message import Message

PROBE = 'Is it A or B? Answer with JSON such as {"answer": ["A"]}.'
"""The question that finds a dialect."""

JsonFormat = Literal["json_schema", "json_schema_without_lengths", "json_object", "none"]
_JSON_FORMATS: tuple[JsonFormat, ...] = (
    "json_schema",
    "json_schema_without_lengths",
    "json_object",
    "none",
)
_LENGTHS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_TOP_LOGPROBS = (20, 5, 0)

_SYSTEM = re.compile(r"system.{0,20}(role|message|prompt|instruction)|role.{0,20}system", re.I)
_NAMED: Mapping[str, re.Pattern[str]] = {
    "chat_template_kwargs": re.compile(r"chat_?template|template_?kwargs|enable_thinking", re.I),
    "max_completion_tokens": re.compile(r"max_completion_tokens"),
    "top_logprobs": re.compile(r"top_?logprobs", re.I),
    "logprobs": re.compile(r"log_?probs?\b|log.?probabilit", re.I),
    "response_format": re.compile(r"response_?format|json_|schema|structured|grammar", re.I),
    "seed": re.compile(r"\bseed\b", re.I),
    "temperature": re.compile(r"temperature", re.I),
    "system": _SYSTEM,
    "max_tokens": re.compile(r"max_tokens"),
}
"""What refusals call a parameter; the first one that is named and was sent is changed."""

_BLIND = (
    "chat_template_kwargs",
    "seed",
    "top_logprobs",
    "response_format",
    "temperature",
    "max_tokens",
    "system",
)
"""The order in which parameters are changed when a refusal names none of them."""

_SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 8},
            "minItems": 1,
            "maxItems": 1,
        }
    },
    "required": ["answer"],
    "additionalProperties": False,
}
"""With the keywords of the stages' schemas that servers are known to refuse."""


@dataclass(frozen=True)
class Dialect:
    """How one server is asked. The defaults are those of vLLM's server."""

    tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    takes_template_kwargs: bool = True
    """Whether arguments of the chat template may be sent; servers of hosted models refuse them."""
    takes_seed: bool = True
    takes_temperature: bool = True
    takes_system: bool = True
    """Whether messages may begin with a system turn; it is joined to the user's where not."""
    json_format: JsonFormat = "json_schema"
    """How JSON is asked for; `none` leaves it to the prompt."""
    top_logprobs: int = _TOP_LOGPROBS[0]
    """The likeliest first tokens whose log-probabilities are given; 0 where none are."""

    def body(
        self, request: Request, model: str, template_kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The request's body in this dialect."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": m.role, "content": m.content} for m in self._messages(request)],
            self.tokens_field: request.max_tokens,
        }
        if self.takes_template_kwargs:
            body["chat_template_kwargs"] = dict(template_kwargs)
        if self.takes_temperature:
            body["temperature"] = request.temperature
        if self.takes_seed:
            body["seed"] = request.seed % 2**31
        if request.choices is not None:
            body[self.tokens_field] = 1
            if self.takes_temperature:
                body["temperature"] = 0.0
            if self.top_logprobs:
                body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        elif request.json_schema is not None and self.json_format != "none":
            body["response_format"] = self._response_format(request.json_schema)
        return body

    def after_refusal(self, request: Request, error: ServerError) -> "Dialect | None":
        """The dialect to try after this request was refused; None where nothing is left to try."""
        sent = self.body(request, "", {})
        changes = self._changes(sent)
        text = f"{error.message} {error.code}"
        named = [name for name, pattern in _NAMED.items() if pattern.search(text)]
        for name in (*named, *_BLIND):
            if name in changes:
                return changes[name]()
        return None

    def _changes(self, sent: Mapping[str, Any]) -> dict[str, Callable[[], "Dialect"]]:
        """What may be changed of the parameters that were sent, by the name of a refusal."""
        changes: dict[str, Callable[[], Dialect]] = {}
        if "chat_template_kwargs" in sent:
            without = replace(self, takes_template_kwargs=False)
            changes["chat_template_kwargs"] = lambda: without
        if "max_tokens" in sent:
            renamed = replace(self, tokens_field="max_completion_tokens")
            changes["max_completion_tokens"] = changes["max_tokens"] = lambda: renamed
        if "top_logprobs" in sent:
            fewer = _TOP_LOGPROBS[_TOP_LOGPROBS.index(self.top_logprobs) + 1]
            changes["top_logprobs"] = lambda: replace(self, top_logprobs=fewer)
            changes["logprobs"] = lambda: replace(self, top_logprobs=0)
        if "response_format" in sent:
            looser = _JSON_FORMATS[_JSON_FORMATS.index(self.json_format) + 1]
            changes["response_format"] = lambda: replace(self, json_format=looser)
        if "seed" in sent:
            changes["seed"] = lambda: replace(self, takes_seed=False)
        if "temperature" in sent:
            changes["temperature"] = lambda: replace(self, takes_temperature=False)
        if self.takes_system:
            changes["system"] = lambda: replace(self, takes_system=False)
        return changes

    def _messages(self, request: Request) -> tuple[Message, ...]:
        messages = request.messages
        if self.takes_system or len(messages) < 2 or messages[0].role != "system":
            return messages
        system, first, *rest = messages
        return (Message("user", f"{system.content}\n\n{first.content}"), *rest)

    def _response_format(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.json_format == "json_object":
            return {"type": "json_object"}
        if self.json_format == "json_schema_without_lengths":
            schema = _without_lengths(schema)
        described = {"name": "answer", "schema": schema, "strict": True}
        return {"type": "json_schema", "json_schema": described}


def probes(kinds: Collection[AnswerKind]) -> list[Request]:
    """The questions that show what a server takes, for the kinds of answers that are wanted."""
    messages = (Message("system", "Be brief."), Message("user", PROBE))
    asked = []
    if "json" in kinds:
        asked.append(Request(messages, max_tokens=16, json_schema=_SCHEMA))
    elif "text" in kinds:
        asked.append(Request(messages, max_tokens=16))
    if "choice" in kinds:
        asked.append(Request(messages, max_tokens=1, choices=("A", "B")))
    return asked


def _without_lengths(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {k: _without_lengths(v) for k, v in schema.items() if k not in _LENGTHS}
    return [_without_lengths(v) for v in schema] if isinstance(schema, list) else schema
