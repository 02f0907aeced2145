"""What peers make of the same LLM server: one of them, run by the python of its own environment.

    DATATROVE/bin/python jobs/benchmarks/llm_peers.py datatrove --url http://127.0.0.1:PORT
    DATATROVE/bin/python jobs/benchmarks/llm_peers.py datatrove --url URL --no-checkpoints
    DATATROVE/bin/python jobs/benchmarks/llm_peers.py ray_data --url URL --batch 8 --actors 8
    DELPHI/bin/python jobs/benchmarks/llm_peers.py delphi --url URL --concurrent 60
    DELPHI/bin/python jobs/benchmarks/llm_peers.py delphi --url URL --concurrent 1

The server is llm_server.py beside this file. datatrove 0.10.1 and Ray Data's HTTP processor ask
`--requests` questions of `--characters` characters; delphi 0.1.3 explains and scores `--latents`
latents by fuzzing and detection at its defaults: 1 + 20 + 20 prompts each of five examples, 60 at
once as a library, 1 as its command line does with a provider's API. Seconds are of the asking
alone: processes, libraries and (for Ray) the cluster are started before, which favours the peer;
Ray's actors start within the measured time: `asked_for_s`, from the server's first request to its
last answer, leaves them out. Prints one JSON line.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import types
import urllib.request
from collections.abc import Iterator
from typing import Any

TRAIN, TEST, NOT_ACTIVE, WINDOW = 40, 50, 50, 32


def main() -> None:
    """Run one peer; print its figures beside what the server counted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("--url", required=True, help="the server's, without /v1")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--characters", type=int, default=3000)
    parser.add_argument("--latents", type=int, default=60)
    parser.add_argument("--concurrent", type=int, help="200 for datatrove, 60 for delphi")
    parser.add_argument("--chunk", type=int, default=500, help="datatrove: records of a checkpoint")
    parser.add_argument("--no-checkpoints", action="store_true", help="datatrove")
    parser.add_argument("--folder", help="datatrove: a folder to continue in")
    parser.add_argument("--batch", type=int, default=8, help="ray_data")
    parser.add_argument("--actors", type=int, default=8, help="ray_data")
    asked = parser.parse_args()
    asked.url = asked.url.rstrip("/")
    _call(f"{asked.url}/clear", b"")
    figures = PEERS[asked.peer](asked)
    counts = _call(f"{asked.url}/counts")
    rate = counts["requests"] / figures["seconds"]
    print(json.dumps({"peer": asked.peer, **figures, **counts, "requests_per_s": rate}), flush=True)


def prompts(asked: argparse.Namespace) -> Iterator[str]:
    """The questions, all different at their end, as prompts that share a beginning are."""
    filler = "The river was near the old road. " * (asked.characters // 33 + 1)
    for number in range(asked.requests):
        yield f"{filler[: asked.characters - 8]}{number:8d}"


def datatrove(asked: argparse.Namespace) -> dict[str, Any]:
    """Its inference runner, with a sqlite checkpoint of every answer or without."""
    from datatrove.data import Document
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter
    from loguru import logger

    logger.remove()
    folder = asked.folder or tempfile.mkdtemp()

    async def rollout(document: Any, generate: Any) -> Any:
        message = {"role": "user", "content": document.text}
        return await generate({"messages": [message], "max_tokens": 64, "temperature": 0.0})

    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="mock",
        endpoint_url=asked.url,
        max_concurrent_generations=asked.concurrent or 200,
        metric_interval=3600,
        server_ready_delay_sec=0.1,
    )
    kept = not asked.no_checkpoints
    runner = InferenceRunner(
        rollout_fn=rollout,
        config=config,
        output_writer=JsonlWriter(
            f"{folder}/out", "${rank}_${chunk_index}.jsonl" if kept else "${rank}.jsonl"
        ),
        checkpoints_local_dir=f"{folder}/checkpoints" if kept else None,
        records_per_chunk=asked.chunk,
    )
    documents = [Document(text=text, id=str(n)) for n, text in enumerate(prompts(asked))]
    start = time.perf_counter()
    runner.run(documents, rank=0, world_size=1)
    return {"seconds": time.perf_counter() - start, "checkpoints": kept}


def ray_data(asked: argparse.Namespace) -> dict[str, Any]:
    """Its HTTP processor: requests of one batch go one after another, so actors are what helps."""
    import ray
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    ray.init(
        num_cpus=max(8, asked.actors + 4),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=300 * 2**20,
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    questions = ray.data.from_items(
        [{"prompt": text} for text in prompts(asked)], override_num_blocks=4 * asked.actors
    ).materialize()
    processor = build_processor(
        HttpRequestProcessorConfig(
            url=f"{asked.url}/v1/chat/completions",
            batch_size=asked.batch,
            concurrency=(asked.actors, asked.actors),
        ),
        preprocess=lambda row: {
            "payload": {
                "model": "mock",
                "messages": [{"role": "user", "content": row["prompt"]}],
                "max_tokens": 64,
                "temperature": 0.0,
            }
        },
        postprocess=lambda row: {
            "text": row["http_response"]["choices"][0]["message"]["content"],
        },
    )
    start = time.perf_counter()
    rows = processor(questions).materialize().count()
    seconds = time.perf_counter() - start
    ray.shutdown()
    return {"seconds": seconds, "rows": rows, "batch": asked.batch, "actors": asked.actors}


def delphi(asked: argparse.Namespace) -> dict[str, Any]:
    """Its explainer and two scorers, on records that are made before the clock starts."""
    _stand_in_for_vllm()
    from delphi.clients import OpenRouter
    from delphi.explainers import DefaultExplainer
    from delphi.pipeline import Pipe, Pipeline, process_wrapper
    from delphi.scorers import DetectionScorer, FuzzingScorer

    records = [_record(number) for number in range(asked.latents)]
    answered: list[Any] = []
    concurrent = asked.concurrent or 60

    async def loader() -> Any:
        for record in records:
            yield record

    def explained(result: Any) -> Any:
        result.record.explanation = result.explanation
        return result.record

    async def run() -> float:
        client = OpenRouter("mock", "none", base_url=f"{asked.url}/v1/chat/completions")
        explainer = process_wrapper(DefaultExplainer(client), postprocess=explained)
        scorers = [
            process_wrapper(kind(client, n_examples_shown=5))
            for kind in (FuzzingScorer, DetectionScorer)
        ]
        start = time.perf_counter()
        # Kept out of asyncio.run's result, whose shutdown would write all of it out (Python 3.11).
        answered.extend(
            await Pipeline(loader(), Pipe(explainer), _flat(Pipe(*scorers))).run(concurrent)
        )
        return time.perf_counter() - start

    seconds = asyncio.run(run())
    lost = sum(one.prediction is None for both in answered for r in both for one in r.score)
    return {
        "seconds": seconds,
        "concurrent": concurrent,
        "latents": len(answered),
        "lost_predictions": lost,
        "latents_per_hour": len(answered) / seconds * 3600,
    }


def _flat(pipe: Any) -> Any:
    """A pipe gives a list, of one explained record here; the next one wants the record."""

    async def first(results: list[Any]) -> Any:
        return await pipe(results[0])

    return first


def _record(number: int) -> Any:
    """A latent with what delphi's sampler gives at its defaults."""
    import random

    import torch
    from delphi.latents.latents import (
        ActivatingExample,
        Latent,
        LatentRecord,
        NonActivatingExample,
    )

    draw = random.Random(number)

    def window(strength: float) -> dict[str, Any]:
        words = [f" w{draw.randrange(5000)}" for _ in range(WINDOW)]
        activations = torch.zeros(WINDOW)
        activations[draw.randrange(WINDOW)] = strength
        return {"tokens": torch.zeros(WINDOW, dtype=torch.long), "str_tokens": words} | {
            "activations": activations
        }

    def active(quantile: int) -> Any:
        values = window(10.0 - quantile)
        normalized = (values["activations"] > 0) * (10 - quantile)
        return ActivatingExample(**values, normalized_activations=normalized, quantile=quantile)

    return LatentRecord(
        latent=Latent("layers.1", number),
        train=[active(n * 10 // TRAIN) for n in range(TRAIN)],
        test=[active(n * 10 // TEST) for n in range(TEST)],
        not_active=[NonActivatingExample(**window(0.0)) for _ in range(NOT_ACTIVE)],
    )


def _stand_in_for_vllm() -> None:
    """The module delphi imports, vLLM, whose engine this race does not use."""
    for name in ("vllm", "vllm.distributed", "vllm.distributed.parallel_state", "vllm.inputs"):
        sys.modules[name] = types.ModuleType(name)
    vllm: Any = sys.modules["vllm"]
    vllm.LLM = vllm.SamplingParams = type("Absent", (), {})
    state: Any = sys.modules["vllm.distributed.parallel_state"]
    state.destroy_distributed_environment = state.destroy_model_parallel = lambda: None
    inputs: Any = sys.modules["vllm.inputs"]
    inputs.TokensPrompt = dict


def _call(url: str, data: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(url, data=data) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


PEERS = {"datatrove": datatrove, "ray_data": ray_data, "delphi": delphi}

if __name__ == "__main__":
    main()
