"""A loopback server of OpenAI's chat completions that answers after a while, for races.

    python jobs/benchmarks/llm_server.py --delay 0.05 --port 0

Prints {"port": N}. GET /counts tells how many requests came, and how many different ones; POST
/reset forgets them.
"""

import argparse
import asyncio
import hashlib
import json

from aiohttp import web

_LOGPROBS = {
    "content": [
        {
            "token": "A",
            "logprob": -0.1,
            "top_logprobs": [
                {"token": "A", "logprob": -0.1},
                {"token": "B", "logprob": -2.5},
            ],
        }
    ]
}


class _Server:
    def __init__(self, delay: float, text: str) -> None:
        self._delay, self._text = delay, text
        self._num_requests = 0
        self._distinct: set[bytes] = set()

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._num_requests += 1
        self._distinct.add(hashlib.blake2b(body, digest_size=12).digest())
        await asyncio.sleep(self._delay)
        # The request is not parsed: on two cores the server must cost less than who asks.
        text = "A" if b'"top_logprobs"' in body else self._text
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": _LOGPROBS if text == "A" else None,
        }
        usage = {"prompt_tokens": 750, "completion_tokens": 10, "total_tokens": 760}
        said = {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
        return web.json_response(said | {"choices": [choice], "usage": usage})

    async def counts(self, _: web.Request) -> web.Response:
        return web.json_response({"requests": self._num_requests, "distinct": len(self._distinct)})

    async def reset(self, _: web.Request) -> web.Response:
        self._num_requests = 0
        self._distinct.clear()
        return web.json_response({})


async def _serve(port: int, delay: float, text: str) -> None:
    server = _Server(delay, text)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_get("/counts", server.counts)
    app.router.add_get("/v1/models", server.counts)  # Some clients wait until this is there.
    app.router.add_post("/reset", server.reset)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
    await site.start()
    (address,) = runner.addresses
    print(json.dumps({"port": address[1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text", default="words about the sea")
    args = parser.parse_args()
    asyncio.run(_serve(args.port, args.delay, args.text))
