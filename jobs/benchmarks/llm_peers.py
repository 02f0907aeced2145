"""The peers' side of the races of request plumbing, against the server of llm_server.py.

    .venv/bin/python jobs/benchmarks/llm_server.py --delay 0.05 --port 8931
    .venv/bin/python jobs/benchmarks/llm_peers.py ray-data --url http://127.0.0.1:8931

Each peer is run by the python of its own environment. A run clears the server's counters first and
prints one JSON line: the requests that the server saw, how many of them were distinct, the seconds
from the start of the peer's own run (imports and the making of prompts are not counted), those from
the first request that the server saw, and the settings.
"""

import argparse
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

LENGTH = 3000


def main() -> None:
    """Run one peer and print its row."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", required=True, help="of the server, without /v1")
    shared.add_argument("--requests", type=int, default=5000)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    kinds = parser.add_subparsers(dest="peer", required=True)
    kind = kinds.add_parser("ray-data", parents=[shared])
    kind.add_argument("--batch", type=int, default=1, help="rows asked one after another")
    kind.add_argument("--concurrency", type=int, default=2, help="actors")
    kind.add_argument("--batches", type=int, default=200, help="at once in one actor")
    kind.add_argument("--blocks", type=int, default=4, help="parts of the data set")
    kind.add_argument(
        "--new-sessions", action="store_true", help="one per batch, as it does unasked"
    )
    kind.set_defaults(run=ray_data)
    asked = parser.parse_args()
    row = asked.run(asked)
    settings = {
        name: str(value) for name, value in vars(asked).items() if name not in {"run", "url"}
    }
    print(json.dumps(row | settings), flush=True)


def prompt(number: int) -> str:
    """A prompt of 3,000 characters that no other number shares."""
    words = " ".join(f"w{(number * 7919 + place * 104729) % 5000}" for place in range(LENGTH // 4))
    return f"Request {number}. {words}"[:LENGTH]


def payload(number: int) -> dict[str, Any]:
    """The chat request of one prompt."""
    message = {"role": "user", "content": prompt(number)}
    return {"model": "scripted", "messages": [message], "max_tokens": 64, "temperature": 0.0}


def counts(url: str) -> dict[str, int]:
    """What the server has seen."""
    with urllib.request.urlopen(f"{url}/counts") as answer:
        seen: dict[str, int] = json.load(answer)
    return seen


def timed(url: str, run: Callable[[], None], clear: bool = True) -> dict[str, Any]:
    """Run it and tell the seconds, in all and from the first request on."""
    if clear:
        urllib.request.urlopen(urllib.request.Request(f"{url}/reset", method="POST")).close()
    before = counts(url)
    first: list[float] = []

    def wait() -> None:
        while not first:
            if counts(url)["requests"] > before["requests"]:
                first.append(time.perf_counter())
            time.sleep(0.02)

    threading.Thread(target=wait, daemon=True).start()
    start = time.perf_counter()
    run()
    end = time.perf_counter()
    first.append(end)
    seen = counts(url)
    return {
        "requests": seen["requests"] - before["requests"],
        "distinct_in_all": seen["distinct"],
        "seconds": round(end - start, 3),
        "seconds_after_start": round(end - first[0], 3),
    }


class KeptSession:
    """One client session for all batches of an actor, left open when a batch leaves it."""

    _kept: Any = None

    async def __aenter__(self) -> Any:
        """The actor's session."""
        import aiohttp

        if KeptSession._kept is None:
            KeptSession._kept = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return KeptSession._kept

    async def __aexit__(self, *_: object) -> None:
        """Leave it open for the next batch."""


def ray_data(asked: argparse.Namespace) -> dict[str, Any]:
    """HttpRequestProcessor of Ray Data; Ray itself is started before the clock."""
    # Read when Ray Data is imported, here and not in its workers; 4 when nothing is said.
    os.environ["RAY_DATA_DEFAULT_ASYNC_BATCH_UDF_MAX_CONCURRENCY"] = str(asked.batches)
    import ray
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    config = HttpRequestProcessorConfig(
        url=f"{asked.url}/v1/chat/completions",
        batch_size=asked.batch,
        concurrency=(asked.concurrency, asked.concurrency),
        session_factory=None if asked.new_sessions else KeptSession,
        http_request_stage={"num_cpus": 0.5},
    )
    processor = build_processor(
        config,
        preprocess=lambda row: {"payload": payload(row["id"])},
        postprocess=lambda row: {
            "text": row["http_response"]["choices"][0]["message"]["content"],
        },
    )
    data = ray.data.range(asked.requests, override_num_blocks=asked.blocks)
    return timed(asked.url, lambda: _consume(processor(data)))


def _consume(data: Any) -> None:
    rows = sum(len(batch["text"]) for batch in data.iter_batches(batch_size=None))
    print(f"{rows} rows", flush=True)


if __name__ == "__main__":
    main()
