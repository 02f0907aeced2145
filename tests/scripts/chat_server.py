"""A loopback server that speaks OpenAI's chat completions."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from aiohttp import web

Reply = Callable[[int, dict[str, Any]], web.Response]


def completion(text: str = "hello", finish_reason: str = "stop", **more: Any) -> web.Response:
    choice = {"message": {"content": text}, "finish_reason": finish_reason, "logprobs": None}
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    return web.json_response({"choices": [choice | more], "usage": usage})


class Server:
    """Answers what `reply(number of the request, its body)` says; keeps what it saw."""

    def __init__(self, reply: Reply | None = None, delay: float = 0.0) -> None:
        self._reply = reply or (lambda number, body: completion())
        self._delay = delay
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _complete(self, request: web.Request) -> web.Response:
        number = len(self.bodies)
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await asyncio.sleep(self._delay)
            return self._reply(number, self.bodies[number])
        finally:
            self._now -= 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._port = runner.addresses[0][1]
