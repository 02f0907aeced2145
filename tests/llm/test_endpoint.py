"""Endpoints, over real HTTP: what is sent, what is tried again, what is refused in a sentence."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from chat_server import ChatServer, completion, serving
from ports import free_port

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError, OutOfCredit, TransientError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.completion import choice_logprobs
from ray_autointerp.llm.endpoint import EndpointLLM
from ray_autointerp.llm.open import open_llm
from ray_autointerp.llm.scripted import planted_script
from ray_autointerp.pipeline import label
from ray_autointerp.prompts import detection
from ray_autointerp.prompts.message import Message
from ray_autointerp.records.layout import labels_file
from ray_autointerp.runs.answers import spent
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.parquet import read_table
from ray_autointerp.storage.store import open_store

KEY = "secret-of-the-test"
VARIABLE = "TEST_ENDPOINT_KEY"
HELLO = Request((Message("system", "Be brief."), Message("user", "Hello?")), max_tokens=9, seed=3)

Serve = Callable[..., ChatServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(first, second) starts a server that answers by each in turn, then by the last."""
    with ExitStack() as stack:

        def start(*replies: Any) -> ChatServer:
            left = list(replies)

            def script(body: dict[str, Any]) -> Any:
                reply = left.pop(0) if len(left) > 1 else left[0]
                return reply(body) if callable(reply) else reply

            return stack.enter_context(serving(script))

        yield start


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def section(*urls: str, **changes: Any) -> LLMSection:
    values = {"model": "served", "endpoints": urls, "api_key_variable": VARIABLE, **changes}
    return LLMSection(backend="endpoint", **values)


def answers(section: LLMSection, requests: Sequence[Request]) -> list[Answer]:
    """All asked at once."""

    async def main() -> list[Answer]:
        llm = EndpointLLM(section)
        try:
            return await asyncio.gather(*(llm.ask(request) for request in requests))
        finally:
            await llm.close()

    return asyncio.run(main())


def failing(status: int, message: str = "not now", **headers: str) -> Callable[..., web.Response]:
    """An error; the client comes back at once, unless `headers` say when."""

    def reply(body: dict[str, Any]) -> web.Response:
        error = {"error": {"message": message, "code": status}}
        headers_sent = headers or {"Retry-After-Ms": "1"}
        return web.json_response(error, status=status, headers=headers_sent)

    return reply


def numbered(number: int) -> list[Request]:
    return [Request((Message("user", f"Question {n}"),), max_tokens=9) for n in range(number)]


def test_request_and_answer_are_those_of_the_protocol(serve: Serve) -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 16},
    }
    server = serve(completion("a town", finish_reason="length", usage=usage))
    asked = Request(HELLO.messages, max_tokens=9, temperature=0.7, seed=2**31 + 5)
    (answer,) = answers(section(f"{server.url}/"), [asked])
    assert answer == Answer(
        "a town", "length", num_prompt_tokens=30, num_generated_tokens=4, num_cached_tokens=16
    )
    assert server.bodies == [
        {
            "model": "served",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello?"},
            ],
            "max_tokens": 9,
            "temperature": 0.7,
            "seed": 5,
            "chat_template_kwargs": {"enable_thinking": False},
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_schema_is_sent_as_the_format_of_the_response(serve: Serve) -> None:
    server = serve(completion("{}"))
    schema = {"type": "object", "properties": {}}
    answers(section(server.url), [Request(HELLO.messages, 9, json_schema=schema)])
    assert server.bodies[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }


def listed(**logprobs: float) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": value} for token, value in logprobs.items()]


def judged(tops: list[dict[str, Any]], text: str = "A") -> dict[str, Any]:
    logprobs = {"content": [{"token": text, "logprob": -0.1, "top_logprobs": tops}]}
    return completion(text, finish_reason="length", logprobs=logprobs)


def test_choice_is_one_token_with_its_log_probabilities(serve: Serve) -> None:
    server = serve(judged(listed(B=-0.5, A=-1.5, the=-4.0)))
    asked = Request(HELLO.messages, 9, temperature=0.7, choices=("A", "B"))
    (answer,) = answers(section(server.url), [asked])
    assert answer.choice_logprobs == {"A": -1.5, "B": -0.5}
    assert answer.finish_reason == "stop"
    body = server.bodies[0]
    assert (body["max_tokens"], body["temperature"]) == (1, 0.0)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)


def test_choices_are_found_among_listed_tokens() -> None:
    both = choice_logprobs(("A", "B"), [("A", -2.0), (" A", -2.0), ("\tB", -0.3)])
    assert both is not None
    assert math.isclose(both["A"], -2.0 + math.log(2)), "with and without a space before"
    assert both["B"] == -0.3
    assert choice_logprobs(("A", "B"), [("A", -0.1), ("the", -9.0)]) == {"A": -0.1, "B": -9.0}
    assert choice_logprobs(("A", "B"), [("the", -0.1), ("a", -2.0)]) is None
    yes_no = {"Yes": -1.0, "No": -2.0}
    assert choice_logprobs(("Yes", "No"), [("Y", -1.0), ("N", -2.0)]) == yes_no
    assert choice_logprobs(("yes", "yet"), [("ye", -1.0), ("", -2.0)]) is None


def test_server_without_log_probabilities_cannot_judge(serve: Serve) -> None:
    server = serve(completion("A"))
    with pytest.raises(LLMError, match="no log-probabilities.*judge"):
        answers(section(server.url), [Request(HELLO.messages, 1, choices=("A", "B"))])


def test_filtered_answer_and_refusal_have_no_text(serve: Serve) -> None:
    server = serve(completion("half of", finish_reason="content_filter"), completion(None))
    assert [answers(section(server.url), [HELLO])[0].text for _ in range(2)] == ["", ""]


def test_no_endpoint_has_more_in_flight_than_the_bound(serve: Serve) -> None:
    servers = [serve(completion()), serve(completion())]
    for server in servers:
        server.hold.clear()

    async def main() -> None:
        llm = EndpointLLM(section(*(s.url for s in servers), requests_in_flight=4))
        asked = [asyncio.create_task(llm.ask(request)) for request in numbered(30)]
        while sum(server.in_flight for server in servers) < 8:
            await asyncio.sleep(0.005)
        for server in servers:
            server.hold.set()
        await asyncio.gather(*asked)
        await llm.close()

    asyncio.run(main())
    assert [server.most_in_flight for server in servers] == [4, 4]
    said = [body["messages"][0]["content"] for server in servers for body in server.bodies]
    assert sorted(said) == sorted(request.messages[0].content for request in numbered(30))


def test_requests_go_to_the_endpoint_that_answers(serve: Serve) -> None:
    busy, idle = serve(completion()), serve(completion())
    busy.hold.clear()

    async def main() -> None:
        llm = EndpointLLM(section(busy.url, idle.url, requests_in_flight=2))
        stuck = asyncio.create_task(llm.ask(HELLO))
        while not busy.in_flight:
            await asyncio.sleep(0.005)
        for request in numbered(9):
            await llm.ask(request)
        assert len(idle.bodies) >= 8
        busy.hold.set()
        await stuck
        await llm.close()

    asyncio.run(main())


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_again(serve: Serve, status: int) -> None:
    server = serve(failing(status), failing(status), completion("at last"))
    (answer,) = answers(section(server.url), [HELLO])
    assert answer.text == "at last"
    assert len(server.bodies) == 3


def test_retry_after_is_the_least_pause(serve: Serve) -> None:
    seen: list[float] = []

    def limited(body: dict[str, Any]) -> Any:
        seen.append(asyncio.get_running_loop().time())
        if len(seen) == 1:
            return failing(429, **{"Retry-After": "0.3"})(body)
        return completion()

    server = serve(limited)
    answers(section(server.url), [HELLO])
    assert seen[1] - seen[0] >= 0.3


def test_pause_that_is_too_long_ends_the_run_with_a_sentence(serve: Serve) -> None:
    server = serve(failing(429, **{"Retry-After": "86400"}))
    with pytest.raises(LLMError, match="Retry-After: 86400: continue the run then"):
        answers(section(server.url), [HELLO])
    assert len(server.bodies) == 1


def test_answer_that_takes_too_long_is_asked_for_again(serve: Serve) -> None:
    server = serve(completion("on time"))
    server.num_held = 1
    (answer,) = answers(section(server.url, timeout_s=0.3), [HELLO])
    assert answer.text == "on time"
    assert len(server.bodies) == 2


def test_endpoint_that_is_down_costs_nothing_where_another_is_up(serve: Serve) -> None:
    server = serve(completion())
    dead = f"http://127.0.0.1:{free_port()}/v1"
    found = answers(section(dead, server.url, requests_in_flight=2), numbered(12))
    assert [answer.text for answer in found] == ["yes"] * 12


def test_tries_end_and_the_error_may_be_tried_later(serve: Serve) -> None:
    server = serve(failing(503, "overloaded"))
    with pytest.raises(TransientError, match=r"in 3 tries: .*503 \(overloaded\)") as raised:
        answers(section(server.url, max_tries=3), [HELLO])
    assert server.url in str(raised.value)
    assert len(server.bodies) == 3
    dead = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(TransientError, match=re.escape(dead)):
        answers(section(dead, max_tries=2), [HELLO])


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"choices": []}, "choices"),
        ({"error": {"message": "the upstream is down"}}, "the upstream is down"),
        ([], r"\[\]"),
        ("no", "no"),
    ],
)
def test_answer_that_is_none_is_tried_again_and_shown(serve: Serve, reply: Any, said: str) -> None:
    server = serve(lambda body: web.json_response(reply, headers={"Retry-After-Ms": "1"}))
    with pytest.raises(TransientError, match=f"no chat completion.*{said}"):
        answers(section(server.url, max_tries=2), [HELLO])
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (402, {"message": "Insufficient Balance"}),
        (402, {}),
        (429, {"message": "Quota.", "type": "insufficient_quota", "code": "insufficient_quota"}),
        (429, {"message": "You exceeded your current quota, please check your plan and billing"}),
        (400, {"message": "Your credit balance is too low to access the API."}),
        (200, {"message": "Insufficient credits.", "code": 402}),
    ],
)
def test_missing_money_is_one_sentence_and_not_tried_again(
    serve: Serve, status: int, error: dict[str, Any]
) -> None:
    server = serve(lambda body: web.json_response({"error": error}, status=status))
    with pytest.raises(OutOfCredit, match="no credit left.*same command continues") as raised:
        answers(section(server.url), [HELLO])
    assert server.url in str(raised.value)
    assert error.get("message", "").rstrip(".") in str(raised.value)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached: 30000 tokens per minute. Add a payment method at example.com/billing.",
        "You exceeded your current quota. Please retry in 12.5s.",
    ],
)
def test_rate_limit_is_patience_and_not_money(serve: Serve, message: str) -> None:
    server = serve(failing(429, message), completion("later"))
    assert answers(section(server.url), [HELLO])[0].text == "later"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, f"refuses the key.*{VARIABLE}"),
        (403, f"refuses the key.*{VARIABLE}.*served"),
        (404, "no chat completions.*served.*endpoints.*/v1"),
        (400, "refuses the request.*no such parameter"),
        (301, "redirects.*endpoints"),
    ],
)
def test_refusal_is_one_sentence_without_the_key(serve: Serve, status: int, said: str) -> None:
    server = serve(failing(status, f"no such parameter, dear {KEY}"))
    with pytest.raises(LLMError, match=said) as raised:
        answers(section(server.url), [HELLO])
    assert server.url in str(raised.value) and str(status) in str(raised.value)
    assert KEY not in str(raised.value)
    assert len(server.bodies) == 1, "it is not tried again"


def test_prompt_that_is_too_long_is_an_answer(serve: Serve) -> None:
    said = "This model's maximum context length is 512 tokens"
    (answer,) = answers(section(serve(failing(400, said)).url), [HELLO])
    assert answer == Answer(said, "error")


def test_key_comes_from_the_environment_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(completion())
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("OPENAI_API_KEY", "another's")
    answers(section(server.url), [HELLO])
    assert "Authorization" not in server.headers[0], "a loopback server may want none"
    with pytest.raises(LLMError, match=VARIABLE):
        open_llm(section("https://llm.example.com/v1"), threads=1)


def test_proxy_of_the_environment_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(completion("through the proxy"))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    (answer,) = answers(section("http://llm.example.com/v1"), [HELLO])
    assert answer.text == "through the proxy"
    assert proxy.headers[0]["Host"] == "llm.example.com"


def test_loopback_is_not_reached_through_a_proxy(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    assert answers(section(serve(completion()).url), [HELLO])[0].text == "yes"


def test_redirect_does_not_carry_the_key_elsewhere(serve: Serve) -> None:
    other = serve(completion())
    server = serve(failing(307, Location=f"{other.url}/chat/completions"))
    with pytest.raises(LLMError, match="redirects"):
        answers(section(server.url), [HELLO])
    assert not other.bodies


# A run


def planted_server(body: dict[str, Any]) -> dict[str, Any]:
    """The planted script as a server: it sees the body alone."""
    messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    form = body.get("response_format")
    choices = tuple(re.findall(r"^Set (\w+):", messages[-1].content, re.M)) or detection.CHOICES
    answer = planted_script(
        Request(
            messages,
            body["max_tokens"],
            json_schema=form["json_schema"]["schema"] if form else None,
            choices=choices if body.get("logprobs") else None,
        )
    )
    if answer.choice_logprobs is None:
        return completion(answer.text)
    return judged(listed(**answer.choice_logprobs), answer.text)


@pytest.mark.slow
def test_run_through_an_endpoint_has_the_labels_of_the_scripted_run(
    serve: Serve,
    quick_run: Run,
    quick_config: Callable[..., Any],
    tmp_path: Path,
) -> None:
    server = serve(planted_server)
    asked = section(server.url).model_dump(mode="json")
    run = label(quick_config(tmp_path, {"llm": asked}), run_local, Silent())
    assert_same_labels(run, quick_run)
    assert server.bodies


def paid_server(num_paid: int) -> tuple[Callable[[dict[str, Any]], Any], list[str]]:
    """The planted server until so many requests are paid for; and those that it answered.

    `append("credit")` on the list pays for all others.
    """
    answered: list[str] = []

    def reply(body: dict[str, Any]) -> Any:
        if len(answered) >= num_paid and "credit" not in answered:
            return failing(402, "Insufficient Balance")(body)
        answered.append(json.dumps(body, sort_keys=True))
        return planted_server(body)

    return reply, answered


def assert_same_labels(run: Run, other: Run) -> None:
    found, expected = (read_table(open_store(r.uri), labels_file(r.saes[0])) for r in (run, other))
    same = [name for name in expected.column_names if name not in {"llm", "judge"}]
    assert found.select(same).to_pylist() == expected.select(same).to_pylist()


@pytest.mark.slow
def test_run_without_credit_keeps_what_was_answered_and_goes_on(
    serve: Serve,
    quick_run: Run,
    quick_config: Callable[..., Any],
    tmp_path: Path,
) -> None:
    reply, answered = paid_server(20)
    asked = section(serve(reply).url, requests_in_flight=4).model_dump(mode="json")
    config = quick_config(tmp_path, {"llm": asked})
    for _ in range(2):
        with pytest.raises(OutOfCredit, match="Insufficient Balance"):
            label(config, run_local, Silent())
    answered.append("credit")
    run = label(config, run_local, Silent())
    kept = spent(open_store(run.uri)).num_requests
    assert len(answered) - 1 == kept, "no answer was paid for twice"
    assert_same_labels(run, quick_run)


@pytest.mark.parametrize("has_credit_at_the_start", [True, False])
def test_run_on_ray_without_credit_stops_with_the_same_sentence(
    serve: Serve,
    ray_runner: Callable[..., None],
    quick_config: Callable[..., Any],
    tmp_path: Path,
    has_credit_at_the_start: bool,
) -> None:
    reply, answered = paid_server(20)
    server = serve(reply if has_credit_at_the_start else failing(402, "Insufficient Balance"))
    server.scripts_probes = not has_credit_at_the_start
    asked = section(server.url).model_dump(mode="json")
    asked["api_key_variable"] = "NO_KEY_ON_LOOPBACK"  # workers have another environment
    config = quick_config(tmp_path, {"llm": asked})
    with pytest.raises(OutOfCredit, match=r"no credit left .*Insufficient Balance"):
        label(config, ray_runner, Silent())
    assert len(answered) == (20 if has_credit_at_the_start else 0)


@pytest.mark.slow
def test_judge_that_cannot_judge_is_found_before_the_explainer_is_paid(
    serve: Serve, quick_config: Callable[..., Any], tmp_path: Path
) -> None:
    explainer, judge = serve(planted_server), serve(completion("A"))
    judge.scripts_probes = True
    sections = {
        name: section(server.url).model_dump(mode="json")
        for name, server in (("llm", explainer), ("judge", judge))
    }
    with pytest.raises(LLMError, match="no log-probabilities"):
        label(quick_config(tmp_path, sections), run_local, Silent())
    assert not explainer.bodies
