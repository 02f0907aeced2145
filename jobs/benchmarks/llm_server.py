"""An OpenAI-style server on loopback that answers after a given delay: the LLM of the races.

    python jobs/benchmarks/llm_server.py --delay 0.05 --port 0

Prints one JSON line with its port, and serves until it is ended. A prompt with numbered examples is
answered by as many ones (which delphi's scorers read), a request for log-probabilities by one
token with those of A, B and 1 to 3, any other by a fixed line; token counts are characters / 4. GET
/counts tells requests, distinct prompts, prompt characters, the most requests in flight and the
seconds from the first request to the last answer; POST /clear forgets them. Needs aiohttp alone.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

LINE = "[EXPLANATION]: words about rivers and the towns beside them"
LOGPROBS = [
    {"token": token, "logprob": logprob, "bytes": list(token.encode())}
    for token, logprob in (("A", -0.4), ("B", -1.2), ("1", -2.0), ("2", -2.5), ("3", -3.0))
]


@dataclass
class Server:
    """What it was asked so far."""

    delay: float
    num_requests: int = 0
    num_characters: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    digests: set[bytes] = field(default_factory=set)

    def application(self) -> web.Application:
        """The server's routes."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self.answer)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/health", self.models)
        app.router.add_get("/counts", self.counts)
        app.router.add_post("/clear", self.clear)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        """One chat completion, after the delay."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            body = json.loads(await request.read())
            prompt = "\x1e".join(_text(message["content"]) for message in body["messages"])
            if not self.num_requests:
                self.first_at = time.perf_counter()
            self.num_requests += 1
            self.num_characters += len(prompt)
            self.digests.add(hashlib.blake2b(prompt.encode(), digest_size=12).digest())
            await asyncio.sleep(self.delay)
            return web.Response(
                body=json.dumps(completion(body, prompt)).encode(), content_type="application/json"
            )
        finally:
            self.in_flight -= 1
            self.last_at = time.perf_counter()

    async def models(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """The one model."""
        return web.json_response({"object": "list", "data": [{"id": "mock", "object": "model"}]})

    async def counts(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """The figures."""
        return web.json_response(
            {
                "requests": self.num_requests,
                "distinct": len(self.digests),
                "characters": self.num_characters,
                "most_in_flight": self.most_in_flight,
                "asked_for_s": round(self.last_at - self.first_at, 3),
            }
        )

    async def clear(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """Count anew."""
        self.num_requests = self.num_characters = self.most_in_flight = 0
        self.digests.clear()
        return web.json_response({})


def completion(body: dict[str, Any], prompt: str) -> dict[str, Any]:
    """The answer to one request."""
    last = _text(body["messages"][-1]["content"])
    numbered = len(re.findall(r"^Example \d+:", last, re.M))
    text = LINE if not numbered else json.dumps([1] * numbered)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if body.get("logprobs"):
        text = "A"
        choice["logprobs"] = {"content": [{**LOGPROBS[0], "top_logprobs": LOGPROBS}]}
    choice["message"] = {"role": "assistant", "content": text}
    asked, said = len(prompt) // 4, len(text) // 4 + 1
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model", "mock"),
        "choices": [choice],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": said,
            "total_tokens": asked + said,
        },
    }


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


async def serve(delay: float, port: int) -> None:
    """Serve until cancelled; prints the port."""
    runner = web.AppRunner(Server(delay).application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each answer")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    asked = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(asked.delay, asked.port))


if __name__ == "__main__":
    main()
