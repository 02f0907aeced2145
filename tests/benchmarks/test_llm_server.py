"""The server of the LLM races speaks what our endpoints, and delphi's scorers, read."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from ray_autointerp.config import LLMSection
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.endpoint import EndpointLLM
from ray_autointerp.prompts.message import Message

FOLDER = str(Path(__file__).parents[2] / "jobs" / "benchmarks")


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(FOLDER)
    yield


def asked(*requests: Request) -> tuple[list[Answer], dict[str, Any]]:
    """The answers, and what the server counted."""
    import llm_server

    async def main() -> tuple[list[Answer], dict[str, Any]]:
        runner = web.AppRunner(llm_server.Server(delay=0.0).application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        llm = EndpointLLM(LLMSection(backend="endpoint", model="mock", endpoints=(f"{url}/v1",)))
        try:
            await llm.start()
            async with ClientSession() as session:
                await session.post(f"{url}/clear")  # what the start asked
                answers = await asyncio.gather(*(llm.ask(request) for request in requests))
                async with session.get(f"{url}/counts") as response:
                    return answers, await response.json()
        finally:
            await llm.close()
            await runner.cleanup()

    return asyncio.run(main())


def question(text: str, **changes: Any) -> Request:
    return Request((Message("user", text),), max_tokens=9, **changes)


def test_repeated_prompts_are_told_from_distinct_ones() -> None:
    _, counts = asked(question("a"), question("b"), question("a"))
    assert (counts["requests"], counts["distinct"], counts["characters"]) == (3, 2, 3)


def test_answers_fit_what_is_asked() -> None:
    numbered = question("Example 0: one\nExample 1: two")
    (line, ones, choice), _ = asked(
        question("Explain"), numbered, question("Which?", choices=("A", "B"))
    )
    assert line.text and line.num_prompt_tokens == len("Explain") // 4
    assert json.loads(ones.text) == [1, 1]
    assert choice.choice_logprobs == {"A": -0.4, "B": -1.2}
