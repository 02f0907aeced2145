"""Servers as they are, over real HTTP: what they refuse, how they answer, what is made of it."""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from chat_server import TOP_LOGPROBS, answer_as_vllm, completion, serving

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError, OutOfCredit
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.endpoint import EndpointLLM
from ray_autointerp.prompts.message import Message

ASKED = (Message("system", "Be brief."), Message("user", "A or B?"))
SCHEMA = {
    "type": "object",
    "properties": {"words": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
}
TEXT = Request(ASKED, max_tokens=9, temperature=0.7, seed=3)
JSON = Request(ASKED, max_tokens=9, json_schema=SCHEMA)
CHOICE = Request(ASKED, max_tokens=1, choices=("A", "B"))

Body = dict[str, Any]
Reply = web.Response | Body


def refusal(message: str, status: int = 400, **error: Any) -> web.Response:
    return web.json_response({"error": {"message": message, **error}}, status=status)


def refusing(has: Callable[[Body], object], message: str, **error: Any) -> Callable[[Body], Reply]:
    """A server that answers as vLLM's but for bodies that have something."""
    return lambda body: refusal(message, **error) if has(body) else answer_as_vllm(body)


def with_logprobs(logprobs: Any) -> Callable[[Body], Reply]:
    return lambda body: completion("A", **({"logprobs": logprobs} if body.get("logprobs") else {}))


def nested(body: Body, *names: str) -> Any:
    found: Any = body
    for name in names:
        found = found.get(name, {}) if isinstance(found, dict) else {}
    return found


def schema_has_lengths(body: Body) -> bool:
    return "minItems" in str(body.get("response_format"))


BOTH = {"A": -0.5, "B": -1.0}


@dataclass(frozen=True)
class Case:
    """A server, what it is asked, and what must come of it."""

    name: str
    server: Callable[[Body], Reply]
    request: Request
    sent: Body = field(default_factory=dict)
    """Fields of the question that is asked after the probes; None where it must not be there."""
    text: str | None = None
    logprobs: dict[str, float] | None = None


CASES = [
    Case("vLLM", answer_as_vllm, CHOICE, {"max_tokens": 1, "top_logprobs": 20}, "A", BOTH),
    Case(
        "thinking is off",
        answer_as_vllm,
        TEXT,
        {"chat_template_kwargs": {"enable_thinking": False}},
    ),
    Case(
        "no chat_template_kwargs",
        refusing(
            lambda b: "chat_template_kwargs" in b,
            "Unrecognized request argument supplied: chat_template_kwargs",
        ),
        TEXT,
        {"chat_template_kwargs": None, "seed": 3},
    ),
    Case(
        "max_completion_tokens",
        refusing(
            lambda b: "max_tokens" in b,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
        ),
        TEXT,
        {"max_tokens": None, "max_completion_tokens": 9, "temperature": 0.7, "seed": 3},
    ),
    Case(
        "a choice in max_completion_tokens",
        refusing(lambda b: "max_tokens" in b, "Use 'max_completion_tokens' instead."),
        CHOICE,
        {"max_tokens": None, "max_completion_tokens": 1},
        "A",
        BOTH,
    ),
    Case(
        "top_logprobs above 5",
        refusing(
            lambda b: b.get("top_logprobs", 0) > 5,
            "Invalid value for 'top_logprobs': must be less than or equal to 5.",
        ),
        CHOICE,
        {"top_logprobs": 5, "logprobs": True},
        "A",
        BOTH,
    ),
    Case(
        "no seed",
        refusing(lambda b: "seed" in b, "body.seed: Extra inputs are not permitted", code="422"),
        TEXT,
        {"seed": None, "temperature": 0.7, "max_tokens": 9},
    ),
    Case(
        "status 422",
        lambda b: refusal("unknown field `seed`", 422) if "seed" in b else answer_as_vllm(b),
        TEXT,
        {"seed": None},
    ),
    Case(
        "no temperature",
        refusing(
            lambda b: "temperature" in b,
            "Unsupported value: 'temperature' does not support 0.0 with this model.",
        ),
        TEXT,
        {"temperature": None, "seed": 3},
    ),
    Case(
        "no lengths in schemas",
        refusing(
            schema_has_lengths, "Invalid schema for response_format: 'minItems' not permitted"
        ),
        JSON,
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "answer",
                    "strict": True,
                    "schema": {
                        "type": "object",
                        "properties": {"words": {"type": "array", "items": {"type": "string"}}},
                    },
                },
            }
        },
    ),
    Case(
        "no schemas",
        refusing(
            lambda b: nested(b, "response_format", "type") == "json_schema",
            "response_format of type json_schema is not available",
        ),
        JSON,
        {"response_format": {"type": "json_object"}},
    ),
    Case(
        "no response_format, and JSON in a fence",
        lambda b: (
            refusal("response_format is not supported")
            if "response_format" in b
            else completion('```json\n{"words": []}\n```')
        ),
        JSON,
        {"response_format": None},
        '{"words": []}',
    ),
    Case(
        "no system turn",
        refusing(lambda b: b["messages"][0]["role"] == "system", "System role not supported"),
        TEXT,
        {"messages": [{"role": "user", "content": "Be brief.\n\nA or B?"}]},
    ),
    Case(
        "several at once, and none is named",
        refusing(lambda b: "seed" in b or b.get("top_logprobs", 0) > 5, "invalid request"),
        CHOICE,
        {"seed": None, "top_logprobs": 5, "chat_template_kwargs": None},
        "A",
        BOTH,
    ),
    Case(
        "content in parts",
        lambda b: completion(
            [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "a "}, {"text": "b"}]
        ),
        TEXT,
        text="a b",
    ),
    Case(
        "log-probabilities as a bare list",
        with_logprobs([{"token": "A", "logprob": -0.5, "top_logprobs": TOP_LOGPROBS}]),
        CHOICE,
        text="A",
        logprobs=BOTH,
    ),
    Case(
        "log-probabilities of older completions",
        with_logprobs({"tokens": ["A"], "token_logprobs": [-0.5], "top_logprobs": [BOTH]}),
        CHOICE,
        text="A",
        logprobs=BOTH,
    ),
]


def asked(
    server: Callable[[Body], Reply], request: Request, **changes: Any
) -> tuple[list[Answer], list[Body], list[Body]]:
    """Two answers, the probes and the bodies that the server saw."""

    async def main(url: str) -> list[Answer]:
        values = {"model": "served", "endpoints": (url,), **changes}
        llm = EndpointLLM(LLMSection(backend="endpoint", **values), {request.kind})
        try:
            await llm.start()
            return [await llm.ask(request) for _ in range(2)]
        finally:
            await llm.close()

    with serving(server, scripts_probes=True) as running:
        return asyncio.run(main(running.url)), running.probes, running.bodies


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_dialect_is_found_once_and_spoken(case: Case) -> None:
    (answer, _), _, bodies = asked(case.server, case.request)
    assert len(bodies) == 2, "after the probes nothing is refused"
    assert {name: bodies[0].get(name) for name in case.sent} == case.sent
    if case.text is not None:
        assert answer.text == case.text
    assert answer.choice_logprobs == case.logprobs


WITHOUT = [
    ("null", with_logprobs(None)),
    ("an empty list", with_logprobs([])),
    ("no alternatives", with_logprobs({"content": [{"token": "A", "logprob": -0.1}]})),
    ("no numbers", with_logprobs({"content": [{"token": "A", "top_logprobs": [{"token": "A"}]}]})),
    ("refused", refusing(lambda b: "logprobs" in b, "logprobs are not supported by this model")),
    ("ignored", lambda body: completion("A")),
]


@pytest.mark.parametrize(("name", "server"), WITHOUT)
def test_judge_without_log_probabilities_is_refused_before_it_is_asked(
    name: str, server: Callable[[Body], Reply]
) -> None:
    with pytest.raises(LLMError, match=r"no log-probabilities of served.*sampled_answers = 20"):
        asked(server, CHOICE)
    assert asked(server, TEXT)[0], "who is asked for text needs none"


@pytest.mark.parametrize(("name", "server"), WITHOUT)
def test_judgements_are_shares_of_sampled_answers_where_the_config_allows_it(
    name: str, server: Callable[[Body], Reply], caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["A", " A", "B", "neither", "A"]

    def sampled(body: Body) -> Reply:
        reply = server(body)
        if isinstance(reply, dict) and body.get("temperature") == 1.0:
            reply["choices"][0]["message"]["content"] = texts[body["seed"] % len(texts)]
        return reply

    with caplog.at_level(logging.WARNING):
        (answer, again), _, bodies = asked(sampled, CHOICE, sampled_answers=5)
    assert answer == again and answer.text == "A" and answer.finish_reason == "stop"
    assert answer.choice_logprobs is not None
    shares = {choice: math.exp(value) for choice, value in answer.choice_logprobs.items()}
    assert shares == pytest.approx({"A": 3.5 / 6, "B": 1.5 / 6})
    assert (answer.num_prompt_tokens, answer.num_generated_tokens) == (35, 10)
    assert len(bodies) == 10 and len({body["seed"] for body in bodies}) == 5
    assert all(body["max_tokens"] == 1 and "logprobs" not in body for body in bodies)
    assert len([r for r in caplog.records if "shares of 5 sampled" in r.getMessage()]) == 1


def test_samples_without_a_choice_are_no_judgement() -> None:
    (answer, _), _, _ = asked(lambda body: completion("neither"), CHOICE, sampled_answers=3)
    assert answer.choice_logprobs is None


def test_chat_template_kwargs_of_the_config_are_sent_or_refused_in_a_sentence() -> None:
    wanted = {"chat_template_kwargs": {"enable_thinking": True, "effort": "low"}}
    _, probes, bodies = asked(answer_as_vllm, TEXT, **wanted)
    assert all(b["chat_template_kwargs"] == wanted["chat_template_kwargs"] for b in bodies + probes)
    strict = refusing(lambda b: "chat_template_kwargs" in b, "no such field: chat_template_kwargs")
    with pytest.raises(LLMError, match=r"takes no chat_template_kwargs \(no such field"):
        asked(strict, TEXT, **wanted)


def test_refusal_that_nothing_helps_against_is_shown() -> None:
    def server(body: Body) -> Reply:
        return refusal("The model `served` is retired.")

    with pytest.raises(LLMError, match=r"status 400 \(The model `served` is retired\)"):
        asked(server, TEXT)


def test_account_without_credit_is_found_before_anything_is_asked() -> None:
    def server(body: Body) -> Reply:
        return refusal("Insufficient Balance", 402)

    with pytest.raises(OutOfCredit, match="Insufficient Balance"):
        asked(server, TEXT)


def test_each_endpoint_has_its_own_dialect() -> None:
    strict = refusing(lambda b: "seed" in b, "unknown parameter: seed")

    async def main(*urls: str) -> None:
        llm = EndpointLLM(LLMSection(backend="endpoint", model="m", endpoints=urls), {"text"})
        await llm.start()
        await asyncio.gather(*(llm.ask(TEXT) for _ in range(8)))
        await llm.close()

    with (
        serving(strict, scripts_probes=True) as one,
        serving(answer_as_vllm, scripts_probes=True) as other,
    ):
        asyncio.run(main(one.url, other.url))
    assert one.bodies and all("seed" not in body for body in one.bodies)
    assert other.bodies and all("seed" in body for body in other.bodies)


def test_endpoint_that_is_down_at_the_start_is_asked_for_its_dialect_later() -> None:
    calls: list[Body] = []

    def server(body: Body) -> Reply:
        calls.append(body)
        if len(calls) <= 2:
            error = {"error": {"message": "loading the model"}}
            return web.json_response(error, status=503, headers={"Retry-After-Ms": "1"})
        return refusal("no seed, please") if "seed" in body else answer_as_vllm(body)

    (answer, _), probes, bodies = asked(server, TEXT)
    assert answer.finish_reason == "stop"
    assert len(probes) == 4 and len(bodies) == 2
