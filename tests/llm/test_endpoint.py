"""The door to OpenAI-style servers, against a real one on loopback."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from chat_server import Server, completion

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError, TransientError
from ray_autointerp.llm import endpoint
from ray_autointerp.llm.door import Answer, Request
from ray_autointerp.llm.endpoint import EndpointLLM
from ray_autointerp.llm.open import check_llm, open_llm
from ray_autointerp.prompts.message import Message


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(*args: Any, **kwargs: Any) -> Server:
        servers.append(Server(*args, **kwargs))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made; time is let pass so that they are over."""
    made: list[float] = []
    passed = 0.0
    clock = endpoint.time.monotonic

    async def pause(seconds: float) -> None:
        nonlocal passed
        made.append(seconds)
        passed += seconds

    monkeypatch.setattr(endpoint, "_pause", pause)
    monkeypatch.setattr(endpoint, "_now", lambda: clock() + passed)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return made


def section(*servers: Server, **more: Any) -> LLMSection:
    urls = tuple(server.url for server in servers)
    return LLMSection(backend="endpoint", model="m", endpoints=urls, **more)


def ask(section: LLMSection, *requests: Request) -> list[Answer]:
    async def asked() -> list[Answer]:
        llm = EndpointLLM(section)
        try:
            return list(await asyncio.gather(*(llm.ask(request) for request in requests)))
        finally:
            await llm.close()

    return asyncio.run(asked())


def request(text: str = "Say hello.", **more: Any) -> Request:
    return Request((Message("user", text),), **{"max_tokens": 16, **more})


def test_answer_and_what_it_cost_are_read(serve: Callable[..., Server]) -> None:
    server = serve()
    (answer,) = ask(section(server), request(seed=2**40 + 7, temperature=0.5))
    assert answer == Answer("hello", "stop", None, 12, 3, 8)
    (body,) = server.bodies
    assert body["model"] == "m"
    assert body["messages"] == [{"role": "user", "content": "Say hello."}]
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (16, 0.5, 7)


def test_answer_that_was_cut_off_says_so_and_a_filtered_one_is_empty(
    serve: Callable[..., Server],
) -> None:
    reasons = ["length", "content_filter"]
    server = serve(lambda number, body: completion("some", reasons[number]))
    (cut,) = ask(section(server), request())
    (filtered,) = ask(section(server), request())
    assert (cut.text, cut.finish_reason) == ("some", "length")
    assert (filtered.text, filtered.finish_reason) == ("", "stop")


def test_schema_goes_out_as_a_strict_response_format(serve: Callable[..., Server]) -> None:
    server = serve()
    ask(section(server), request(json_schema={"type": "object"}))
    told = server.bodies[0]["response_format"]
    assert told["type"] == "json_schema"
    assert told["json_schema"]["schema"] == {"type": "object"}
    assert told["json_schema"]["strict"] is True


def listed(**logprobs: float) -> dict[str, Any]:
    top = [{"token": token, "logprob": p} for token, p in logprobs.items()]
    return {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}


def test_choice_is_one_token_with_the_log_probability_of_each(
    serve: Callable[..., Server],
) -> None:
    server = serve(lambda *_: completion("A", logprobs=listed(**{" A": -0.2, "B": -1.9, "x": -4})))
    (answer,) = ask(section(server), request(choices=("A", "B"), temperature=0.7))
    assert answer.choice_logprobs == {"A": -0.2, "B": -1.9}
    body = server.bodies[0]
    assert (body["max_tokens"], body["logprobs"], body["temperature"]) == (1, True, 0.0)


def test_choice_that_is_not_listed_gets_the_least_listed_log_probability(
    serve: Callable[..., Server],
) -> None:
    server = serve(lambda *_: completion("A", logprobs=listed(A=-0.2, x=-7.5)))
    (answer,) = ask(section(server), request(choices=("A", "B")))
    assert answer.choice_logprobs == {"A": -0.2, "B": -7.5}


@pytest.mark.parametrize("logprobs", [None, listed(x=-0.1, y=-3.0)])
def test_judge_that_says_something_else_has_no_log_probabilities(
    serve: Callable[..., Server], logprobs: Any
) -> None:
    server = serve(lambda *_: completion("Well", logprobs=logprobs))
    (answer,) = ask(section(server), request(choices=("A", "B")))
    assert answer.choice_logprobs is None


def test_requests_are_spread_over_endpoints_and_none_gets_more_than_its_room(
    serve: Callable[..., Server],
) -> None:
    servers = [serve(delay=0.05), serve(delay=0.05)]
    requests = [request(f"number {number}") for number in range(24)]
    answers = ask(section(*servers, requests_in_flight=3), *requests)
    assert len(answers) == 24
    assert [server.most_at_once for server in servers] == [3, 3]
    assert all(len(server.bodies) > 6 for server in servers)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_or_broken_endpoint_is_asked_again(
    serve: Callable[..., Server], pauses: list[float], status: int
) -> None:
    server = serve(lambda number, _: web.Response(status=status) if number < 2 else completion())
    (answer,) = ask(section(server), request())
    assert answer.text == "hello"
    assert len(server.bodies) == 3
    assert len(pauses) <= 2, "it rests after each failure, unless it was passed by chance"


@pytest.mark.parametrize(
    "value", ["7", format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)]
)
def test_endpoint_that_says_when_is_not_asked_sooner(
    serve: Callable[..., Server], pauses: list[float], value: str
) -> None:
    busy = web.Response(status=429, headers={"Retry-After": value})
    server = serve(lambda number, _: busy if number == 0 else completion())
    ask(section(server), request())
    (pause,) = pauses
    assert pause > (6.5 if value == "7" else 300)


def test_endpoint_that_failed_is_passed_over_for_another(
    serve: Callable[..., Server], pauses: list[float]
) -> None:
    broken = serve(lambda *_: web.Response(status=500, headers={"Retry-After": "60"}))
    well = serve()
    ask(section(broken, well), request())
    assert len(broken.bodies) == 1 and len(well.bodies) == 1
    assert pauses == [], "nobody waits while another is free"


def test_silent_endpoint_is_asked_again(serve: Callable[..., Server], pauses: list[float]) -> None:
    server = serve(delay=0.5)
    with pytest.raises(TransientError, match=r"2 tries.*silent for 0\.1 s"):
        ask(section(server, timeout_s=0.1, max_tries=2), request())


def test_endpoint_that_is_not_there_is_told_after_the_last_try(pauses: list[float]) -> None:
    gone = LLMSection(
        backend="endpoint", model="m", endpoints=("http://127.0.0.1:9/v1",), max_tries=3
    )
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9.*3 tries"):
        ask(gone, request())


def test_key_comes_from_the_environment_and_shows_nowhere_else(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    refused = {"error": {"message": "bad key"}}
    server = serve(lambda *_: web.json_response(refused, status=401))
    with pytest.raises(LLMError, match=r"401 \(bad key\): set MY_KEY") as caught:
        ask(section(server, api_key_variable="MY_KEY"), request())
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(caught.value) + json.dumps(server.bodies)
    assert len(server.bodies) == 1, "a refusal is not asked again"


def test_loopback_server_needs_no_key(serve: Callable[..., Server], pauses: list[float]) -> None:
    server = serve()
    check_llm(section(server), gpus=0)
    ask(section(server), request())
    assert "Authorization" not in server.headers[0]


def test_server_elsewhere_needs_a_key_and_urls_are_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    elsewhere = LLMSection(backend="endpoint", model="m", endpoints=("https://example.org/v1",))
    with pytest.raises(LLMError, match=r"OPENAI_API_KEY is not set.*judge\.api_key_variable"):
        check_llm(elsewhere, gpus=0, name="judge")
    with pytest.raises(LLMError, match=r"llm\.endpoints has `example\.org`"):
        check_llm(elsewhere.model_copy(update={"endpoints": ("example.org",)}), gpus=0)


def test_prompt_that_is_too_long_is_an_answer_with_the_servers_words(
    serve: Callable[..., Server],
) -> None:
    told = {"error": {"message": "This model's maximum context length is 8 tokens"}}
    server = serve(lambda *_: web.json_response(told, status=400))
    (answer,) = ask(section(server), request())
    assert answer.finish_reason == "error"
    assert "maximum context length is 8" in answer.text


def test_one_line_of_the_config_opens_this_door(serve: Callable[..., Server]) -> None:
    llm = open_llm(section(serve()), threads=1)
    assert isinstance(llm, EndpointLLM)
    asyncio.run(llm.close())
