"""The interface to language models: one request in, one answer out.

Everything above this file knows an LLM by these three names only, so that a vLLM engine, an HTTP
endpoint and a Python function are the same to a stage.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, Protocol

from ray_autointerp.plan.step import AnswerKind
from ray_autointerp.prompts.message import Message


@dataclass(frozen=True)
class Request:
    """One question. Give `json_schema`, `choices` or `answer`, or none of them for free text."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    """Of the answer's sampling: a function of the prompt and the purpose, never of the batch."""
    json_schema: Mapping[str, Any] | None = None
    """The answer is JSON of this schema."""
    choices: tuple[str, ...] | None = None
    """The answer is one token, the first of one of these; their log-probabilities come back."""
    answer: str | None = None
    """Nothing is said: the log-probability of each token of this answer comes back."""

    @property
    def kind(self) -> AnswerKind:
        """The form of the answer."""
        if self.choices is not None:
            return "choice"
        if self.answer is not None:
            return "loglikelihood"
        return "text" if self.json_schema is None else "json"

    @cached_property
    def key(self) -> str:
        """A digest of everything that decides the answer: equal requests are one question."""
        asked = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.answer is None:  # as before there was that field: what runs have kept is found
            del asked["answer"]
        text = json.dumps(asked, sort_keys=True, default=vars)  # vars: of a message
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Answer:
    """What the LLM answered."""

    text: str
    finish_reason: Literal["stop", "length", "error", "over_budget", "quarantined"]
    """`length`: cut off by max_tokens, or for saying the same over and over.

    The last three: not asked at all (`text` says why), because it cannot be, because the run's
    ceiling was reached, because it kills engines.
    """
    choice_logprobs: Mapping[str, float] | None = None
    """Natural log-probability of each choice's first token, before any mask or temperature."""
    num_prompt_tokens: int = 0
    num_generated_tokens: int = 0
    num_cached_tokens: int = 0
    """Prompt tokens read from the prefix cache."""
    answer_logprobs: Sequence[float] | None = None
    """Natural log-probability of each token of the request's `answer`."""


class LLMClient(Protocol):
    """Something that answers. Many requests may be in flight at once."""

    async def start(self) -> None:
        """Be ready to answer; asking does this too. Raises LLMError."""

    async def ask(self, request: Request) -> Answer:
        """The answer; a request that cannot be asked is an answer too (`error`).

        Raises LLMError if it cannot be served at all, EngineDied for every request that was in
        flight when an engine died or hung; the next request starts a new one.
        """

    async def close(self) -> None:
        """Free what it holds; no child process is left."""
