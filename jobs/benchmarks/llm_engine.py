"""A bare vLLM engine in a process of its own: what the pool is raced against.

    python jobs/benchmarks/llm_engine.py requests.jsonl CONFIG.json

The config is a whole one, as JSON. Reads `go` lines on standard input; for each, gives all prompts
to the engine at once and prints one JSON line: seconds, tokens, texts. `reason` asks the judgements
by generated reasoning instead. Arguments, prompts and sampling are made by the pool's own code.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import llm_workload

from ray_autointerp.config import Config
from ray_autointerp.llm.chat import Chat
from ray_autointerp.llm.client import Request
from ray_autointerp.llm.vllm_engine import VLLMEngine, _set_environment, engine_arguments

_REASONING = "\n\nThink step by step in at most 60 words, then end with: Answer: X"
_REASONING_TOKENS = 120


def main() -> None:
    """Serve rounds until standard input ends."""
    requests = llm_workload.read(Path(sys.argv[1]))
    config = Config.model_validate_json(Path(sys.argv[2]).read_text())
    _set_environment(config.operations.threads)
    from vllm import LLM

    engine = LLM(**engine_arguments(config.llm, gpus=0, is_cpu=True))
    door = VLLMEngine(config.llm, threads=config.operations.threads)
    door._chat = Chat(engine.get_tokenizer(), config.llm.model)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = requests
        if line.strip() == "reason":
            asked = [_by_reasoning(request) for request in requests if request.choices]
        engine.reset_prefix_cache()
        print(json.dumps(_round(engine, door, asked)), flush=True)


def _round(engine: Any, door: VLLMEngine, requests: list[Request]) -> dict[str, Any]:
    start = time.perf_counter()
    prepared = [door._prepared(request) for request in requests]
    outputs = engine.generate(
        [{"prompt_token_ids": token_ids} for token_ids, _ in prepared],
        [sampling for _, sampling in prepared],
        use_tqdm=False,
    )
    return {
        "seconds": time.perf_counter() - start,
        "prompt_tokens": sum(len(output.prompt_token_ids) for output in outputs),
        "cached_tokens": sum(output.num_cached_tokens or 0 for output in outputs),
        "generated_tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
        "texts": [output.outputs[0].text for output in outputs],
    }


def _by_reasoning(request: Request) -> Request:
    last = request.messages[-1]
    told = replace(last, content=last.content + _REASONING)
    messages = (*request.messages[:-1], told)
    return Request(messages, _REASONING_TOKENS, seed=request.seed)


if __name__ == "__main__":
    main()
