"""Servers that speak OpenAI's chat completions, several of them balanced.

Requests, retries and proxies are the `openai` client's. A request that fails at one endpoint goes
to another that is well; the last one left is asked again after growing pauses. The key comes from
the environment alone, and is never shown. Knows no stages, no Ray.
"""

import asyncio
import ipaddress
import logging
import math
import os
from collections.abc import Collection
from dataclasses import replace
from typing import Any, get_args
from urllib.parse import urlsplit

import httpx2
import openai

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError, OutOfCredit, TransientError
from ray_autointerp.llm.balance import Balance
from ray_autointerp.llm.chat import THINKING_OFF
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.completion import (
    choice_logprobs,
    choice_of,
    chosen,
    error_of,
    first_token_logprobs,
    text_of,
    without_fence,
)
from ray_autointerp.llm.dialect import Dialect, probes
from ray_autointerp.plan.step import AnswerKind

_log = logging.getLogger(__name__)

_CONNECT_S = 10.0
_NO_COMPLETION = "no_completion"
"""Marks a response that came with status 200."""
_COMPLETION = "completion"
"""Where a response keeps its first choice and its usage."""


class EndpointLLM:
    """Asks the least busy of a section's endpoints. Belongs to one event loop.

    An answer that the server filtered has no text; so has a refusal.
    """

    def __init__(
        self, section: LLMSection, kinds: Collection[AnswerKind] = get_args(AnswerKind)
    ) -> None:
        """`kinds` are the answers that will be asked for.

        Raises LLMError if an endpoint is no URL or the key is not in the environment.
        """
        check_endpoints(section)
        self._section = section
        self._probes = probes(kinds)
        self._template_kwargs = {**THINKING_OFF, **section.chat_template_kwargs}
        self._key = os.environ.get(section.api_key_variable, "").strip()
        self._balance = Balance(section.endpoints, limit=section.requests_in_flight)
        self._clients = {url: self._client(url) for url in section.endpoints}
        self._dialects: dict[str, asyncio.Task[Dialect]] = {}
        self._samples = False
        """Whether choices are sampled: an endpoint was found that gives no log-probabilities."""

    async def start(self) -> None:
        """Find out how each endpoint is asked. One that is down is asked again later.

        Raises LLMError if an endpoint cannot give the kinds of answers that will be asked for,
        OutOfCredit if it wants to be paid.
        """
        urls = list(self._clients)
        found = await asyncio.gather(*map(self._dialect, urls), return_exceptions=True)
        for url, outcome in zip(urls, found, strict=True):
            if isinstance(outcome, openai.APIStatusError):
                read = self._failed if _may_pass(outcome.status_code) else self._refused
                read(url, outcome.response)
            elif isinstance(outcome, BaseException) and not isinstance(
                outcome, openai.APIConnectionError
            ):
                raise outcome

    async def ask(self, request: Request) -> Answer:
        """One answer, or why the prompt cannot be asked.

        Raises LLMError if the server refuses (the key, the model, a parameter), OutOfCredit if it
        wants to be paid, TransientError if every try failed.
        """
        if request.choices is None or not self._samples:
            answer = await self._answered(request)
            if answer is not None:
                return answer
        return await self._sampled(request)

    async def close(self) -> None:
        """Close the connections."""
        for finding in self._dialects.values():
            finding.cancel()
        for client in self._clients.values():
            await client.close()

    async def _answered(self, request: Request) -> Answer | None:
        """One answer; None if the choices must be sampled."""
        why, tries = "", 0
        while tries < self._section.max_tries:
            server = await self._balance.take()
            sent = self._balance.now()
            left = self._section.max_tries - tries - 1
            retries = 0 if self._balance.has_another(server) else left
            try:
                dialect = await self._dialect(server.url, retries)
                if request.choices is not None and self._samples:
                    return None
                response = await self._post(server.url, self._body(request, dialect), retries)
                self._balance.succeeded(server)
                return self._answer(request, server.url, response)
            except openai.APIConnectionError as error:
                self._balance.failed(server, sent=sent)
                tries += 1 + _num_retries(error.request)
                why = f"{server.url}: {error.__cause__ or error}"
            except openai.APIStatusError as error:
                if not _may_pass(error.status_code):
                    self._balance.succeeded(server)
                    return self._refused(server.url, error.response)
                self._balance.failed(server, sent=sent)
                made = _num_retries(error.request)
                tries += 1 + made
                why = self._failed(server.url, error.response, made < retries)
            finally:
                self._balance.give_back(server)
        raise TransientError(f"The LLM's endpoints gave no answer in {tries} tries: {why}.")

    async def _sampled(self, request: Request) -> Answer:
        """A choice by the shares of sampled one-token answers."""
        assert request.choices is not None
        asked = [
            replace(request, choices=None, max_tokens=1, temperature=1.0, seed=request.seed + n)
            for n in range(self._section.sampled_answers)
        ]
        samples = [a for a in await asyncio.gather(*map(self._answered, asked)) if a is not None]
        for sample in samples:
            if sample.finish_reason == "error":
                return sample
        found = [chosen(request.choices, sample.text) for sample in samples]
        counts = {choice: found.count(choice) for choice in request.choices}
        logprobs = None
        if total := sum(counts.values()):
            whole = math.log(len(samples) + 0.5 * len(counts))
            logprobs = {choice: math.log(n + 0.5) - whole for choice, n in counts.items()}
        return Answer(
            text=max(counts, key=counts.__getitem__) if total else samples[0].text,
            finish_reason="stop",
            choice_logprobs=logprobs,
            num_prompt_tokens=sum(sample.num_prompt_tokens for sample in samples),
            num_generated_tokens=sum(sample.num_generated_tokens for sample in samples),
            num_cached_tokens=sum(sample.num_cached_tokens for sample in samples),
        )

    async def _dialect(self, url: str, retries: int = 0) -> Dialect:
        """How the endpoint is asked: found once, and again only after a failure."""
        if url not in self._dialects:
            self._dialects[url] = asyncio.create_task(self._found(url, retries))
        finding = self._dialects[url]
        try:  # shielded: a request that is cancelled does not take the answer from the others
            return await asyncio.shield(finding)
        finally:
            failed = finding.done() and (finding.cancelled() or finding.exception() is not None)
            if failed and self._dialects.get(url) is finding:
                del self._dialects[url]

    async def _found(self, url: str, retries: int) -> Dialect:
        dialect = Dialect()
        for probe in self._probes:
            dialect, response = await self._probed(url, probe, dialect, retries)
            choice, _ = response.extensions[_COMPLETION]
            if probe.choices is not None and len(first_token_logprobs(choice)) < 2:
                dialect = replace(dialect, top_logprobs=0)
                self._judge_by_samples(url)
        if dialect.json_format == "none":
            _log.warning("%s takes no JSON schema: its answers are read as they come.", url)
        return dialect

    async def _probed(
        self, url: str, probe: Request, dialect: Dialect, retries: int
    ) -> tuple[Dialect, httpx2.Response]:
        """The probe's answer, and the dialect in which it was asked."""
        while True:
            try:
                return dialect, await self._post(url, self._body(probe, dialect), retries)
            except openai.APIStatusError as error:
                refusal = error_of(error.response.content)
                if error.status_code not in (400, 422) or refusal.is_out_of_credit(
                    error.status_code
                ):
                    raise
                changed = dialect.after_refusal(probe, refusal)
                if changed is None:
                    raise
                if self._section.chat_template_kwargs and not changed.takes_template_kwargs:
                    raise LLMError(
                        f"{url} takes no chat_template_kwargs{refusal.shown}: remove them from the "
                        "config, or set endpoints to one that takes them."
                    ) from error
                dialect = changed

    def _judge_by_samples(self, url: str) -> None:
        """Sample choices from now on. Raises LLMError unless the config allows it."""
        if not self._section.sampled_answers:
            raise LLMError(
                f"{url} gives no log-probabilities of {self._section.model}, which a judge needs: "
                "name a judge with another model or server in [judge], or set sampled_answers = 20 "
                "there to take the shares of sampled answers instead."
            )
        if not self._samples:
            _log.warning(
                "%s gives no log-probabilities: judgements are the shares of %d sampled answers.",
                url,
                self._section.sampled_answers,
            )
        self._samples = True

    def _client(self, url: str) -> openai.AsyncOpenAI:
        timeout_s = self._section.timeout_s
        at_once = self._section.requests_in_flight
        # httpx's own connection pool looks at every connection for every request: with 256 in
        # flight it takes several times the processor time of aiohttp's.
        http = openai.DefaultAioHttpClient(
            limits=httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once),
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)),
            event_hooks={"response": [self._marked]},
            follow_redirects=False,  # another host must not get the key
            trust_env=not _is_loopback(urlsplit(url).hostname or ""),  # proxies reach no loopback
        )
        return openai.AsyncOpenAI(
            base_url=url,
            api_key=self._key or "none",  # the client wants one; `_post` leaves it out
            http_client=http,
        )

    async def _marked(self, response: httpx2.Response) -> None:
        """Give the client what its retries go by: a status for errors that were sent with 200."""
        body = await response.aread()
        if response.status_code == 200:
            if (completion := choice_of(body)) is not None:
                response.extensions[_COMPLETION] = completion
                return
            response.extensions[_NO_COMPLETION] = True
            response.status_code = error_of(body).status or 502
        if error_of(body).is_out_of_credit(response.status_code):
            response.headers["x-should-retry"] = "false"

    def _body(self, request: Request, dialect: Dialect) -> dict[str, Any]:
        return dialect.body(request, self._section.model, self._template_kwargs)

    async def _post(self, url: str, body: dict[str, Any], retries: int) -> httpx2.Response:
        return await self._clients[url].post(
            "/chat/completions",
            body=body,
            cast_to=httpx2.Response,
            options={
                "max_retries": retries,
                "headers": {} if self._key else {"Authorization": openai.Omit()},
            },
        )

    def _answer(self, request: Request, url: str, response: httpx2.Response) -> Answer | None:
        choice, usage = response.extensions[_COMPLETION]
        text = text_of(choice)
        if request.json_schema is not None:
            text = without_fence(text)
        logprobs = None
        if request.choices is not None and text:
            listed = first_token_logprobs(choice)
            if len(listed) < 2:
                self._judge_by_samples(url)
                return None
            logprobs = choice_logprobs(request.choices, listed)
        details = usage.get("prompt_tokens_details") or {}
        is_cut = choice.get("finish_reason") == "length"
        return Answer(
            text=text,
            # A choice is whole with its one token, whatever the server calls it.
            finish_reason="length" if is_cut and not request.choices else "stop",
            choice_logprobs=logprobs,
            num_prompt_tokens=usage.get("prompt_tokens") or 0,
            num_generated_tokens=usage.get("completion_tokens") or 0,
            num_cached_tokens=details.get("cached_tokens") or 0,
        )

    def _failed(self, url: str, response: httpx2.Response, gave_up: bool = False) -> str:
        """Why a try failed, where another may not. Raises OutOfCredit, LLMError."""
        status, error = response.status_code, error_of(response.content, self._key)
        shown = error.shown
        if error.is_out_of_credit(status):
            raise _out_of_credit(url, status, shown)
        wait = response.headers.get("Retry-After")
        if gave_up and wait is not None:
            raise LLMError(
                f"{url} answers with status {status}{shown} and Retry-After: {wait}: continue the "
                "run then."
            )
        if response.extensions.get(_NO_COMPLETION):
            return f"{url} answered what is no chat completion{shown}"
        return f"{url} answered with status {status}{shown}"

    def _refused(self, url: str, response: httpx2.Response) -> Answer:
        """The answer for a prompt that cannot be asked. Raises OutOfCredit, LLMError."""
        status, error = response.status_code, error_of(response.content, self._key)
        shown = error.shown
        if error.is_out_of_credit(status):
            raise _out_of_credit(url, status, shown)
        if status in (400, 413, 422) and error.is_prompt_refused:
            return Answer(error.short, "error")
        variable = self._section.api_key_variable
        if status in (401, 403):  # servers repeat parts of the key: their message is not shown
            raise LLMError(
                f"{url} refuses the key (status {status}): set {variable} to one that may use "
                f"{self._section.model}."
            )
        if status == 404:
            raise LLMError(
                f"{url} has no chat completions, or does not serve {self._section.model} (status "
                f"404): set endpoints, which as a rule end in /v1, and model{shown}."
            )
        if 300 <= status < 400:
            raise LLMError(
                f"{url} redirects to another address (status {status}): set endpoints to that one."
            )
        raise LLMError(
            f"{url} refuses the request with status {status}{shown}: set endpoints and model to "
            "ones that take it."
        )


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


def _may_pass(status: int) -> bool:
    """Whether the client tries again after this status."""
    return status in (408, 409, 429) or status >= 500


def _num_retries(request: httpx2.Request) -> int:
    """How often the client had asked before this request, the last of several."""
    return int(request.headers.get("x-stainless-retry-count", 0))


def _out_of_credit(url: str, status: int, shown: str) -> OutOfCredit:
    return OutOfCredit(
        f"The account at {url} has no credit left (status {status}{shown}): add credit there. What "
        "is answered is kept; the same command continues from there."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
