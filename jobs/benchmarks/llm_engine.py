"""A bare vLLM engine in a process of its own: what the pool is raced against.

    python jobs/benchmarks/llm_engine.py requests.jsonl CONFIG.json

Reads `go` lines on standard input; for each, gives all prompts to the engine at once and prints one
JSON line: seconds, prompt, cached and generated tokens. `reason` does the judgements by generated
reasoning instead. The engine has the arguments of the pool's engines, from the same function.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import llm_workload

from ray_autointerp.config import LLMSection
from ray_autointerp.llm.door import Request
from ray_autointerp.llm.vllm_engine import VLLMEngine, engine_arguments, set_environment

_REASONING = "\n\nThink step by step in at most 60 words, then end with: Answer: X"
_REASONING_TOKENS = 120


def main() -> None:
    """Serve rounds until standard input ends."""
    requests = llm_workload.read(Path(sys.argv[1]))
    section = LLMSection.model_validate_json(Path(sys.argv[2]).read_text())
    threads = int(sys.argv[3])
    set_environment(threads)
    from vllm import LLM

    engine = LLM(**{**engine_arguments(section), "disable_log_stats": True})
    door = VLLMEngine(section, threads=threads)
    door._tokenizer = engine.get_tokenizer()  # the same prompts and sampling, by the same code
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = requests
        if line.strip() == "reason":
            asked = [_by_reasoning(r) for r in requests if r.choices]
        engine.reset_prefix_cache()
        print(json.dumps(_round(engine, door, asked)), flush=True)


def _round(engine: Any, door: VLLMEngine, requests: list[Request]) -> dict[str, Any]:
    start = time.perf_counter()
    outputs = engine.generate(
        [{"prompt_token_ids": door._rendered(request)} for request in requests],
        [door._sampling(request) for request in requests],
        use_tqdm=False,
    )
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "prompt_tokens": sum(len(o.prompt_token_ids) for o in outputs),
        "cached_tokens": sum(o.num_cached_tokens or 0 for o in outputs),
        "generated_tokens": sum(len(o.outputs[0].token_ids) for o in outputs),
        "texts": [o.outputs[0].text for o in outputs],
    }


def _by_reasoning(request: Request) -> Request:
    last = request.messages[-1]
    told = type(last)(last.role, last.content + _REASONING)
    return Request((*request.messages[:-1], told), _REASONING_TOKENS, seed=request.seed)


if __name__ == "__main__":
    main()
