"""Any server that speaks OpenAI's chat completions, behind the door: bounded, balanced, patient.

Requests go to the endpoint with the fewest in flight. One that is busy (429), broken (5xx), silent
or unreachable is asked again after a pause that grows and is drawn at random, never sooner than its
`Retry-After`; meanwhile others are preferred. The key comes from the environment and goes nowhere
but into the header.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError, TransientError
from ray_autointerp.llm.door import Answer, Request

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TOP_LOGPROBS = 20
"""The most that OpenAI's protocol gives."""

_TOO_LONG = ("context length", "maximum context", "max_model_len", "too long", "too many tokens")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(eq=False)
class _Endpoint:
    url: str
    room: asyncio.Semaphore
    num_waiting: int = 0
    """Requests that have it and those that queue for it."""
    num_failures: int = 0
    """In a row."""
    rests_until: float = 0.0


class _Again(Exception):  # noqa: N818  (a turn of the loop, not a failure of the program)
    """The endpoint may answer later: not before so many seconds, if it said so."""

    def __init__(self, why: str, least_pause: float = 0.0) -> None:
        super().__init__(why)
        self.least_pause = least_pause


class EndpointLLM:
    """A client of one or several endpoints that serve the same model."""

    def __init__(self, section: LLMSection) -> None:
        self._section = section
        self._endpoints = [
            _Endpoint(f"{url.rstrip('/')}/chat/completions", _room(section))
            for url in section.endpoints
        ]
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Nothing is asked before the first request."""

    async def ask(self, request: Request) -> Answer:
        """One answer.

        Raises LLMError where the endpoint refuses what it is asked for good, TransientError where
        it was busy or broken at every try.
        """
        body = json.dumps(_body(request, self._section.model)).encode()
        for number in range(1, self._section.max_tries + 1):
            await self._wait_for_one()
            endpoint = self._least_busy()
            endpoint.num_waiting += 1
            try:
                async with endpoint.room:
                    said = await self._posted(endpoint, body)
                endpoint.num_failures = 0
                return said if isinstance(said, Answer) else _answer(request, said)
            except _Again as again:
                _rest(endpoint, again)
                if number == self._section.max_tries:
                    raise TransientError(
                        f"{endpoint.url} did not answer in {number} tries: {again}"
                    ) from again
            finally:
                endpoint.num_waiting -= 1
        raise AssertionError("max_tries is at least 1")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _least_busy(self) -> _Endpoint:
        now = _now()
        return min(self._endpoints, key=lambda e: (e.rests_until > now, e.num_waiting))

    async def _wait_for_one(self) -> None:
        """Where every endpoint rests, wait for the first: not all at the same moment."""
        rest = min(endpoint.rests_until for endpoint in self._endpoints) - _now()
        if rest > 0:
            await _pause(rest + random.uniform(0, _FIRST_PAUSE_S))

    async def _posted(self, endpoint: _Endpoint, body: bytes) -> Answer | dict[str, Any]:
        """What the endpoint said; an Answer where it cannot be asked this. Raises _Again."""
        try:
            async with self._opened().post(endpoint.url, data=body) as response:
                text = await response.read()
        except TimeoutError as error:
            raise _Again(f"silent for {self._section.timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise _Again(f"{type(error).__name__}: {error}") from error
        if response.status == 200:
            try:
                said: dict[str, Any] = json.loads(text)
            except ValueError as error:
                raise _Again("its answer is no JSON") from error
            return said
        told = _error_of(text)
        if response.status in (408, 429) or response.status >= 500:
            raise _Again(
                f"{response.status} {told}", _retry_after(response.headers.get("Retry-After"))
            )
        if response.status == 400 and any(words in told.lower() for words in _TOO_LONG):
            return Answer(told, "error")
        raise LLMError(self._refusal(endpoint.url, response.status, told))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            key = os.environ.get(self._section.api_key_variable)
            headers = {"Content-Type": "application/json"}
            if key:
                headers["Authorization"] = f"Bearer {key}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                connector=aiohttp.TCPConnector(limit=0),  # each endpoint's room is the bound
                timeout=aiohttp.ClientTimeout(total=self._section.timeout_s),
            )
        return self._session

    def _refusal(self, url: str, status: int, told: str) -> str:
        what_to_do = {
            401: f"set {self._section.api_key_variable} to a key that it accepts",
            403: f"set {self._section.api_key_variable} to a key that may use this model",
            404: "see that llm.endpoints end in /v1 and that llm.model is a name it serves",
        }.get(status, "see its own words, and set llm.model and llm.endpoints accordingly")
        return f"{url} answered {status} ({told}): {what_to_do}."


def check_endpoints(section: LLMSection, name: str) -> None:
    """Raises LLMError if a URL is none, or no key is there for a server elsewhere."""
    for url in section.endpoints:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LLMError(
                f"{name}.endpoints has `{url}`, which is no URL: write https://host/v1 or "
                "http://host:port/v1."
            )
    hosts = {urlsplit(url).hostname for url in section.endpoints}
    if not hosts <= set(_LOOPBACK) and not os.environ.get(section.api_key_variable):
        raise LLMError(
            f"{section.api_key_variable} is not set: export it with the key for {name}.endpoints, "
            f"or name another variable in {name}.api_key_variable."
        )


def _rest(endpoint: _Endpoint, again: _Again) -> None:
    """The endpoint is passed over for a while: full jitter, growing with its failures in a row."""
    most = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**endpoint.num_failures)
    pause = max(again.least_pause, random.uniform(0, most))
    endpoint.num_failures += 1
    endpoint.rests_until = max(endpoint.rests_until, _now() + pause)


def _now() -> float:
    return time.monotonic()


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


def _room(section: LLMSection) -> asyncio.Semaphore:
    return asyncio.Semaphore(section.requests_in_flight)


def _body(request: Request, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed % 2**31,
    }
    if request.choices is not None:
        body |= {"max_tokens": 1, "temperature": 0.0, "logprobs": True}
        body["top_logprobs"] = _TOP_LOGPROBS
    if request.json_schema is not None:
        schema = {"name": "answer", "schema": dict(request.json_schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _answer(request: Request, said: Mapping[str, Any]) -> Answer:
    """What a completion says; one that a content filter cut away is an empty answer."""
    choice = said["choices"][0]
    usage = said.get("usage") or {}
    is_filtered = choice.get("finish_reason") == "content_filter"
    return Answer(
        text="" if is_filtered else choice["message"].get("content") or "",
        finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
        choice_logprobs=_choice_logprobs(request.choices, choice) if request.choices else None,
        num_prompt_tokens=usage.get("prompt_tokens") or 0,
        num_generated_tokens=usage.get("completion_tokens") or 0,
        num_cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
    )


def _choice_logprobs(choices: tuple[str, ...], said: Mapping[str, Any]) -> dict[str, float] | None:
    """Log-probability of each choice's beginning among the first token's likeliest.

    A choice that is not listed is less likely than any that is: it gets the least listed one, an
    upper bound. None where no choice is listed: the judge said something else altogether.
    """
    first = ((said.get("logprobs") or {}).get("content") or [None])[0]
    if first is None:
        return None
    listed = [(e["token"].strip(), float(e["logprob"])) for e in first.get("top_logprobs") or []]
    found = {
        choice: max((p for t, p in listed if t and choice.startswith(t)), default=None)
        for choice in choices
    }
    if all(logprob is None for logprob in found.values()):
        return None
    least = min(logprob for _, logprob in listed)
    return {choice: least if p is None else p for choice, p in found.items()}


def _error_of(text: bytes) -> str:
    """The server's own words, on one line."""
    try:
        said = json.loads(text)
        error = said.get("error", said) if isinstance(said, dict) else said
        told = error.get("message", error) if isinstance(error, dict) else error
    except ValueError:
        told = text.decode(errors="replace")
    return " ".join(str(told).split())[:200]


def _retry_after(value: str | None) -> float:
    """Seconds from now that a `Retry-After` header asks for; 0 where there is none."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
