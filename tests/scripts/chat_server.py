"""A chat completions server on loopback that answers as a test's script says."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ray_autointerp.llm.dialect import PROBE

Reply = web.Response | dict[str, Any]
"""A whole response, or the body of a completion."""
Script = Callable[[dict[str, Any]], Reply]

TOP_LOGPROBS = [{"token": "A", "logprob": -0.5}, {"token": "B", "logprob": -1.0}]


def completion(text: str = "yes", **changes: Any) -> dict[str, Any]:
    """The body of an ordinary answer: completion("no", finish_reason="length")."""
    usage = changes.pop("usage", {"prompt_tokens": 7, "completion_tokens": 2})
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"choices": [choice | changes], "usage": usage}


def answer_as_vllm(body: dict[str, Any]) -> dict[str, Any]:
    """An answer of the form that was asked for."""
    if not body.get("logprobs"):
        return completion('{"answer": ["A"]}')
    listed = TOP_LOGPROBS[: body["top_logprobs"]]
    return completion("A", logprobs={"content": [{**listed[0], "top_logprobs": listed}]})


@dataclass
class ChatServer:
    """What it was asked, in order, and how many requests it saw at once."""

    script: Script
    hold: threading.Event
    """While it is not set, requests are kept waiting."""
    num_held: int = 0
    """So many of the next requests are never answered."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    port: int = 0
    probes: list[dict[str, Any]] = field(default_factory=list)
    """The questions that find the server's dialect; they are answered as vLLM's server would."""
    scripts_probes: bool = False
    """The script answers probes too."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def answer(self, request: web.Request) -> web.Response:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            body = json.loads(await request.read())
            if PROBE in body["messages"][-1]["content"]:
                self.probes.append(body)
                if not self.scripts_probes:
                    return web.json_response(answer_as_vllm(body))
                reply = self.script(body)
                return reply if isinstance(reply, web.Response) else web.json_response(reply)
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            self.num_held -= 1
            if self.num_held >= 0:
                await asyncio.sleep(60)
            while not self.hold.is_set():
                await asyncio.sleep(0.005)
            reply = self.script(body)
            return reply if isinstance(reply, web.Response) else web.json_response(reply)
        finally:
            self.in_flight -= 1


@contextmanager
def serving(script: Script, *, scripts_probes: bool = False) -> Iterator[ChatServer]:
    """The server runs in a thread with a loop of its own."""
    hold = threading.Event()
    hold.set()
    server = ChatServer(script, hold, scripts_probes=scripts_probes)
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", server.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(30)
    try:
        yield server
    finally:
        hold.set()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
