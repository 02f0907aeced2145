"""The LLM pool against a bare vLLM engine and against Ray Data's; judging by token or reasoning.

    python jobs/benchmarks/llm_pool.py --race engine --run RUN

Races: `engine` (the pool against one bare vLLM engine), `ray-data` (against Ray Data's vLLM
processor), `reasoning` (judging by log-probability against generated reasoning): prompts are those
of a finished run, frozen in a file. llm_plumbing.py races what only a server's pace decides.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import llm_workload
import ray
from llm_sides import OurPool, Served, interleaved, median
from race import machine, report

from ray_autointerp.llm.chat import Chat
from ray_autointerp.llm.client import Request
from ray_autointerp.llm.vllm_engine import engine_arguments, engine_environment
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run

_HERE = Path(__file__).parent


def engine_race(run: Run, prompts: Path, rounds: int) -> None:
    """The pool against one bare engine that is given all prompts at once."""
    bare = _bare(run, prompts)
    ours = OurPool(run, prompts)
    rows = interleaved({"pool": ours.round, "bare": bare.round}, rounds)
    ours.close()
    bare.close()
    told = {
        side: {name: median(rows[side], name) for name in ("seconds", *_TOKENS)} for side in rows
    }
    speed = {
        side: (t["prompt_tokens"] + t["generated_tokens"]) / t["seconds"]
        for side, t in told.items()
    }
    report(race="engine", ratio=speed["pool"] / speed["bare"], **told, machine=machine())


def ray_data_race(run: Run, prompts: Path, rounds: int) -> None:
    """The pool against Ray Data's vLLM processor, which starts an engine for every data set."""
    ours = OurPool(run, prompts)
    processor = _RayData(run, llm_workload.read(prompts))
    rows = interleaved({"pool": ours.round, "ray data": processor.round}, rounds)
    ours.close()
    start = processor.round(number=1)["seconds"]
    seconds = {side: median(rows[side], "seconds") for side in rows}
    report(
        race="ray-data",
        seconds=seconds,
        engine_start=start,
        ratio=seconds["ray data"] / seconds["pool"],
        ratio_without_start=(seconds["ray data"] - start) / seconds["pool"],
        machine=machine(),
    )


class _RayData:
    """The same requests through `ray.data.llm`, with the pool's engine arguments."""

    def __init__(self, run: Run, requests: list[Request]) -> None:
        from transformers import AutoTokenizer

        self._config = run.config
        self._chat = Chat(AutoTokenizer.from_pretrained(run.config.llm.model), "")
        self._requests = requests

    def round(self, number: int | None = None) -> dict[str, Any]:
        """All requests once, engine start included."""
        import ray.data
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        arguments = engine_arguments(self._config.llm, gpus=0, is_cpu=True)
        threads = self._config.operations.threads
        config = vLLMEngineProcessorConfig(
            model_source=arguments.pop("model"),
            engine_kwargs=arguments,
            batch_size=64,
            concurrency=1,
            accelerator_type=None,
            placement_group_config={"bundles": [{"CPU": 1}]},  # unasked, it waits for a GPU
            runtime_env={"env_vars": engine_environment(threads, is_cpu=True)},
        )
        processor = build_processor(config, preprocess=dict, postprocess=dict)
        rows = [self._row(request) for request in self._requests[:number]]
        start = time.perf_counter()
        said = processor(ray.data.from_items(rows)).take_all()
        return {
            "seconds": time.perf_counter() - start,
            "prompt_tokens": sum(row["num_input_tokens"] for row in said),
            "generated_tokens": sum(row["num_generated_tokens"] for row in said),
        }

    def _row(self, request: Request) -> dict[str, Any]:
        sampling: dict[str, Any] = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed % 2**31,
        }
        if request.choices:
            tokens = list(self._chat.choice_tokens(request.choices).values())
            sampling |= {
                "max_tokens": 1,
                "allowed_token_ids": tokens,
                "logprob_token_ids": tokens,
            }
        if request.json_schema:
            sampling["structured_outputs"] = {"json": json.dumps(dict(request.json_schema))}
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        return {"messages": messages, "sampling_params": sampling}


def reasoning_race(run: Run, prompts: Path, rounds: int) -> None:
    """Judging by one token's log-probabilities against judging by generated reasoning."""
    bare = _bare(run, prompts)
    requests = llm_workload.read(prompts)
    by_token, by_reasoning = bare.round(), bare.round("reason")
    bare.close()
    judged = [i for i, request in enumerate(requests) if request.choices]
    chosen = [by_token["texts"][i].strip() for i in judged]
    reasoned = [_answer(text) for text in by_reasoning["texts"]]
    both = [(a, b) for a, b in zip(chosen, reasoned, strict=True) if b is not None]
    count = len(judged)
    report(
        race="reasoning",
        judgements=count,
        readable=len(both) / count,
        agreement=sum(a == b for a, b in both) / max(1, len(both)),
        prompt_tokens_each=by_reasoning["prompt_tokens"] / count,
        generated_tokens_each={"token": 1, "reasoning": by_reasoning["generated_tokens"] / count},
        seconds=by_reasoning["seconds"],
        rounds=rounds,
        machine=machine(),
    )


def _answer(text: str) -> str | None:
    found = re.findall(r"Answer:\s*\W?([A-C])\b", text)
    return found[-1] if found else None


_TOKENS = ("prompt_tokens", "cached_tokens", "generated_tokens")


def _bare(run: Run, prompts: Path) -> Served:
    config = prompts.with_suffix(".config.json")
    config.write_text(run.config.model_dump_json())
    return Served(sys.executable, str(_HERE / "llm_engine.py"), str(prompts), str(config))


def _frozen(run: Run, folder: Path, most: int) -> Path:
    path = folder / "requests.jsonl"
    found: list[Request] = llm_workload.requests_of(run)
    llm_workload.write(found[:: max(1, len(found) // most)] if most else found, path)
    return path


def main() -> None:
    """One race."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--race", choices=("engine", "ray-data", "reasoning"), required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--prompts-of-run", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    run = load_run(args.run)
    folder = Path(tempfile.mkdtemp(prefix="llm_prompts_"))
    prompts = _frozen(run, folder, args.prompts_of_run)
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        logging_level="WARNING",
    )
    try:
        races = {"engine": engine_race, "ray-data": ray_data_race, "reasoning": reasoning_race}
        races[args.race](run, prompts, args.rounds)
    finally:
        ray.shutdown()
        shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    main()
