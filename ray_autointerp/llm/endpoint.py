"""Servers that speak OpenAI's chat completions.

Several are balanced, each with a bound on its requests in flight. What may pass (429, 5xx, lost
connections, time-outs) is tried again after a random, growing pause; what cannot is one sentence.
The key comes from the environment alone, and is never told. Knows no stages, no Ray.
"""

import asyncio
import ipaddress
import json
import math
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError, TransientError
from ray_autointerp.llm.balance import Balance
from ray_autointerp.llm.client import Answer, Request

_LONGEST_PAUSE_S = 60.0
_PASSING = frozenset({408, 409, 425, 429})
"""Beside every 5xx: statuses that may be another one next time."""
_UNASKABLE = re.compile(
    r"context.?(length|size|window)|too long|too many tokens|content.?(filter|management)", re.I
)
"""What servers say of a prompt that this model can never be asked."""
_SHOWN = 200
"""Characters of a server's message in ours."""


class _PassingError(Exception):
    """One try failed, and another may not."""


class EndpointLLM:
    """Asks the least busy of a section's endpoints. Belongs to one event loop.

    An answer that the server filtered has no text; so has a refusal.
    """

    def __init__(
        self,
        section: LLMSection,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Raises LLMError if an endpoint is no URL or the key is not in the environment."""
        check_endpoints(section)
        self._section = section
        self._sleep = sleep
        self._key = os.environ.get(section.api_key_variable, "").strip()
        urls = [f"{base.rstrip('/')}/chat/completions" for base in section.endpoints]
        self._balance = Balance(urls, limit=section.requests_in_flight)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Nothing is asked before the first request."""

    async def ask(self, request: Request) -> Answer:
        """One answer, or why the prompt cannot be asked.

        Raises LLMError if the server refuses (the key, the model, a parameter), TransientError if
        every try failed.
        """
        body = json.dumps(_body(request, self._section.model)).encode()
        why = ""
        for number in range(self._section.max_tries):
            if number:  # full jitter: those who failed together do not come back together
                ceiling = min(_LONGEST_PAUSE_S, 2.0 ** (number - 1))
                await self._sleep(random.random() * ceiling)
            try:
                return await self._tried(request, body)
            except _PassingError as error:
                why = str(error)
        raise TransientError(f"The LLM's endpoints gave no answer in {number + 1} tries: {why}.")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _tried(self, request: Request, body: bytes) -> Answer:
        balance = self._balance
        server = await balance.take()
        sent = balance.now()
        try:
            async with self._opened().post(
                server.url, data=body, allow_redirects=False
            ) as response:
                said = await response.read()
            status = response.status
            if status >= 500 or status in _PASSING:
                wait_s = retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
                balance.failed(server, sent=sent, wait_s=wait_s)
            else:
                balance.succeeded(server)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            balance.failed(server, sent=sent)
            raise _PassingError(f"{server.url}: {str(error) or type(error).__name__}") from error
        finally:
            balance.give_back(server)
        return self._read(request, server.url, status, said)

    def _read(self, request: Request, url: str, status: int, said: bytes) -> Answer:
        if status != 200:
            return self._refused(url, status, said)
        try:
            reply = json.loads(said)
            choice = reply["choices"][0]
            text = choice["message"].get("content") or ""
            finish = choice.get("finish_reason")
            logprobs = choice.get("logprobs")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _PassingError(f"{url} answered what is no chat completion") from error
        if finish == "content_filter":
            text = ""
        found = None
        if request.choices is not None and text:
            if not (logprobs and logprobs.get("content")):
                raise LLMError(
                    f"{url} gives no log-probabilities, which a judge needs: name a judge with "
                    "another model or server in [judge]."
                )
            found = choice_logprobs(request.choices, logprobs["content"][0]["top_logprobs"])
        usage = reply.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        return Answer(
            text=text,
            # A choice is whole with its one token, whatever the server calls it.
            finish_reason="length" if finish == "length" and not request.choices else "stop",
            choice_logprobs=found,
            num_prompt_tokens=usage.get("prompt_tokens") or 0,
            num_generated_tokens=usage.get("completion_tokens") or 0,
            num_cached_tokens=details.get("cached_tokens") or 0,
        )

    def _refused(self, url: str, status: int, said: bytes) -> Answer:
        message = _message(said, self._key)
        told = f" ({message})" if message else ""
        if status >= 500 or status in _PASSING:
            if (wait_s := self._balance.soonest_s()) > self._section.timeout_s:
                raise LLMError(
                    f"{url} answers with status {status} and wants to be left alone for "
                    f"{wait_s:.0f} s: continue the run then."
                )
            raise _PassingError(f"{url} answered with status {status}{told}")
        if status in (400, 413, 422) and _UNASKABLE.search(message):
            return Answer(message, "error")
        variable = self._section.api_key_variable
        if status in (401, 403):  # servers repeat parts of the key: their message is not shown
            raise LLMError(
                f"{url} refuses the key (status {status}): set {variable} to one that may use "
                f"{self._section.model}."
            )
        if status == 404:
            raise LLMError(
                f"{url} is not there, or does not serve {self._section.model} (status 404): set "
                f"endpoints, which as a rule end in /v1, and model{told}."
            )
        raise LLMError(
            f"{url} refuses the request with status {status}{told}: set endpoints and model to "
            "ones that take chat completions with a JSON schema and log-probabilities."
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(
                # The balance bounds connections already.
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self._section.timeout_s),
            )
        return self._session


def check_endpoints(section: LLMSection) -> None:
    """Raises LLMError if an endpoint is no URL, holds a secret, or needs a key that is not set."""
    for base in section.endpoints:
        try:
            url = urlsplit(base)
            host, _ = url.hostname, url.port
        except ValueError:
            host = None
        if host is None or url.scheme not in ("http", "https"):
            raise LLMError(
                f"The endpoint `{base}` is no URL: set endpoints to such as "
                "https://api.example.com/v1."
            )
        if "@" in url.netloc or url.query:  # not shown: it may be a key
            raise LLMError(
                f"The endpoint at {host} has a user, password or query in its URL: keys belong in "
                "the environment variable that api_key_variable names."
            )
        key = os.environ.get(section.api_key_variable, "").strip()
        if not key and not _is_loopback(host):
            raise LLMError(
                f"The endpoint {base} needs a key, and {section.api_key_variable} is not set: "
                "export it wherever the LLM's workers run, or name another variable in "
                "api_key_variable."
            )


def retry_after_s(header: str | None, now: datetime) -> float:
    """The seconds a `Retry-After` header asks for, given as seconds or as an HTTP date."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - now).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def choice_logprobs(
    choices: Sequence[str], listed: Sequence[Mapping[str, Any]]
) -> Mapping[str, float] | None:
    """Each choice's log-probability, from the likeliest first tokens that a server lists.

    A token counts for a choice that it spells, or begins and no other choice does; with and
    without a space before, probabilities add up. A choice that is not listed has at most the least
    listed log-probability, and gets that; if none is listed, the answer is None.
    """
    found: dict[str, float] = {}
    for entry in listed:
        token = entry["token"].strip()
        spelt = [c for c in choices if c == token] or [c for c in choices if c.startswith(token)]
        if token and len(spelt) == 1:
            before = found.get(spelt[0], -math.inf)
            found[spelt[0]] = _added(before, float(entry["logprob"]))
    if not found:
        return None
    least = min(float(entry["logprob"]) for entry in listed)
    return {choice: found.get(choice, least) for choice in choices}


def _added(one: float, other: float) -> float:
    larger, smaller = max(one, other), min(one, other)
    return larger if smaller == -math.inf else larger + math.log1p(math.exp(smaller - larger))


def _body(request: Request, model: str) -> Mapping[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed % 2**31,
    }
    if request.choices is not None:
        body |= {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}
    elif request.json_schema is not None:
        schema = {"name": "answer", "schema": request.json_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _message(said: bytes, key: str) -> str:
    """What a server says of an error, in one line and without the key."""
    text = said.decode(errors="replace")
    if key:
        text = text.replace(key, "...")
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    while isinstance(value, dict):
        value = next((value[k] for k in ("error", "message", "detail") if value.get(k)), "")
    return " ".join(str(value).split())[:_SHOWN].rstrip(".")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
