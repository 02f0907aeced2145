"""The peers' side of the races of request plumbing, against the server of llm_server.py.

    .venv/bin/python jobs/benchmarks/llm_server.py --delay 0.05 --port 8931
    .venv/bin/python jobs/benchmarks/llm_peers.py ray-data --url http://127.0.0.1:8931
    TROVE/bin/python jobs/benchmarks/llm_peers.py datatrove --url ... --folder F
    TROVE/bin/python jobs/benchmarks/llm_peers.py datatrove --url ... --folder F --kill-at 4250
    TROVE/bin/python jobs/benchmarks/llm_peers.py datatrove --url ... --folder F --resume
    DELPHI/bin/python jobs/benchmarks/llm_peers.py delphi --url ... --concurrency 60

Each peer is run by the python of its own environment. A run clears the server's counters first
(`--resume` does not) and prints one JSON line: the requests that the server saw, how many asked
again what was asked before, the seconds from the start of the peer's own run (imports and the start
of Ray are not counted), those from the first request that the server saw, and the settings. The
server must answer GET /v1/models and close a connection that asks for it, for datatrove; for delphi
start it with `--text "[1, 1, 1, 1, 1] [EXPLANATION]: words about the sea"`, which its scorers and
its explainer can both read (the row's `judged` tells how many examples were).
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

LENGTH = 3000


def main() -> None:
    """Run one peer and print its row."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", required=True, help="of the server, without /v1")
    many = argparse.ArgumentParser(add_help=False, parents=[shared])
    many.add_argument("--requests", type=int, default=5000)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    kinds = parser.add_subparsers(dest="peer", required=True)
    kind = kinds.add_parser("ray-data", parents=[many])
    kind.add_argument("--batch", type=int, default=12, help="rows asked one after another")
    kind.add_argument("--concurrency", type=int, default=1, help="actors")
    kind.add_argument("--batches", type=int, default=420, help="at once in one actor")
    kind.add_argument("--blocks", type=int, default=1, help="parts of the data set")
    kind.add_argument(
        "--new-sessions", action="store_true", help="one per batch, as it does unasked"
    )
    kind.set_defaults(run=ray_data)
    kind = kinds.add_parser("datatrove", parents=[many])
    kind.add_argument("--folder", type=Path, required=True, help="its outputs and checkpoints")
    kind.add_argument("--concurrency", type=int, default=200)
    kind.add_argument("--chunk", type=int, default=500, help="requests a chunk; 0: no checkpoints")
    kind.add_argument("--kill-at", type=int, help="kill -9 itself after so many requests")
    kind.add_argument("--resume", action="store_true", help="go on where a killed run was")
    kind.set_defaults(run=datatrove)
    kind = kinds.add_parser("delphi", parents=[shared])
    kind.add_argument("--latents", type=int, default=60)
    kind.add_argument("--concurrency", type=int, default=60, help="1 is what its command line sets")
    kind.set_defaults(run=delphi)
    asked = parser.parse_args()
    row = asked.run(asked)
    settings = {name: value for name, value in vars(asked).items() if name not in ("run", "folder")}
    print(json.dumps(settings | row), flush=True)


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


def timed(
    url: str, run: Callable[[], None], clear: bool = True, kill_at: int | None = None
) -> dict[str, Any]:
    """Run it and tell the seconds, in all and from the first request on."""
    if clear:
        urllib.request.urlopen(urllib.request.Request(f"{url}/clear", method="POST")).close()
    before = counts(url)["requests"]
    moments: list[float] = []

    def watch() -> None:
        while counts(url)["requests"] == before:
            time.sleep(0.02)
        moments.append(time.perf_counter())
        while kill_at is not None:
            if counts(url)["requests"] >= kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    run()
    end = time.perf_counter()
    seen = counts(url)
    return {
        "requests": seen["requests"] - before,
        "repeated": seen["requests"] - seen["distinct"],
        "seconds": round(end - start, 3),
        "seconds_after_start": round(end - (moments or [start])[0], 3),
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

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
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


def datatrove(asked: argparse.Namespace) -> dict[str, Any]:
    """InferenceRunner of datatrove, with one sqlite commit per answer when it keeps checkpoints."""
    from datatrove.data import Document
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter
    from loguru import logger

    logger.remove()
    if not asked.resume:
        shutil.rmtree(asked.folder, ignore_errors=True)

    async def rollout(document: Any, generate: Any) -> Any:
        return await generate(payload(int(document.id)))

    name = "${rank}_chunk_${chunk_index}.jsonl" if asked.chunk else "${rank}.jsonl"
    runner = InferenceRunner(
        rollout_fn=rollout,
        config=InferenceConfig(
            server_type="endpoint",
            endpoint_url=asked.url,
            model_name_or_path="scripted",
            max_concurrent_generations=asked.concurrency,
        ),
        output_writer=JsonlWriter(
            str(asked.folder / "out"), output_filename=name, compression=None
        ),
        checkpoints_local_dir=str(asked.folder / "checkpoints") if asked.chunk else None,
        records_per_chunk=asked.chunk or 6000,
    )
    documents = [Document(text=str(number), id=str(number)) for number in range(asked.requests)]
    return timed(asked.url, lambda: runner.run(documents), not asked.resume, asked.kill_at)


def delphi(asked: argparse.Namespace) -> dict[str, Any]:
    """Explainer, detection and fuzzing of delphi: 1 + 20 + 20 prompts a latent, as by default.

    Its loader and sampler are left out, to its gain: the records are made before the clock starts.
    """
    from delphi.clients import OpenRouter
    from delphi.explainers import DefaultExplainer
    from delphi.pipeline import Pipe, Pipeline, process_wrapper
    from delphi.scorers import DetectionScorer, FuzzingScorer

    records = [_record(number) for number in range(asked.latents)]
    kept: list[Any] = []

    def with_explanation(results: Any) -> Any:
        record = results[0].record
        record.explanation = results[0].explanation
        return record

    async def go() -> None:
        client = OpenRouter("scripted", "none", base_url=f"{asked.url}/v1/chat/completions")
        scorers = [kind(client, n_examples_shown=5) for kind in (DetectionScorer, FuzzingScorer)]
        wrapped = [process_wrapper(scorer, preprocess=with_explanation) for scorer in scorers]
        explain = Pipe(process_wrapper(DefaultExplainer(client)))
        pipeline = Pipeline(lambda: iter(records), explain, Pipe(*wrapped))
        # Not returned: at its end asyncio.run of Python 3.11 prints what is returned into a string.
        kept.append(await pipeline.run(asked.concurrency))

    row = timed(asked.url, lambda: asyncio.run(go()))
    answers = [one for latent in kept[0] for scorer in latent for one in scorer.score]
    judged = sum(answer.prediction is not None for answer in answers)
    return row | {
        "judged": judged,
        "latents_per_hour": round(3600 * asked.latents / row["seconds"]),
    }


def _record(number: int) -> Any:
    """A record of delphi's default numbers: 40 shown, 50 + 50 to judge, 32 tokens each."""
    import torch
    from delphi.latents import ActivatingExample, Latent, LatentRecord, NonActivatingExample

    made = torch.Generator().manual_seed(number)
    tokens = torch.randint(0, 5000, (140, 32), generator=made)
    texts = [[f" w{token}" for token in row] for row in tokens.tolist()]
    strengths = torch.rand((90, 32), generator=made) * (torch.arange(32) % 8 == 0)
    shown = [
        ActivatingExample(tokens[i], strengths[i], (strengths[i] * 10).round(), texts[i], i % 10)
        for i in range(90)
    ]
    silent = [
        NonActivatingExample(tokens[i], torch.zeros(32), texts[i], -1.0) for i in range(90, 140)
    ]
    latent = Latent("layers.1", number)
    return LatentRecord(latent, shown, silent, train=shown[:40], test=shown[40:])


if __name__ == "__main__":
    main()
