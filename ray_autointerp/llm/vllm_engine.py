"""vLLM's async engine: continuous batching, JSON by schema, choices by log-prob.

A choice is one generated token; the log-probabilities of exactly the choices' first tokens are
asked for (`logprob_token_ids`), raw, so that no grammar or temperature distorts them. A given
answer goes in behind its prompt, and `prompt_logprobs` come back: of what is read anew alone, so
that the prompt may come from the prefix cache, but no token of the answer.
Prompts go in as token ids of the model's own chat template. Knows no stages, no Ray.
"""

import asyncio
import contextlib
import copy
import itertools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import EngineDied, LLMError, TransientError
from ray_autointerp.llm.chat import Chat
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.engine_process import EngineProcesses
from ray_autointerp.llm.failures import ended_silently, start_failure

_CPU_ARGUMENTS = {
    "enforce_eager": True,
    # A seeded request whose prompt is read in two parts kills a CPU engine (vLLM 0.32: it rewinds
    # the request's generator, which torch cannot do on a CPU).
    "enable_chunked_prefill": False,
    # Beginnings of prompts are shared in whole blocks; 128, the default here, shares little.
    "block_size": 32,
}

_SHARE_OF_FRACTION = 0.9
"""Of an engine's fraction of a card: the rest is for what vLLM does not count."""

_LOOP = {"min_pattern_size": 2, "max_pattern_size": 24, "min_count": 4}
"""Tokens that repeat four times in a row: a small model in a loop would go on to the limit."""

_TOKENS_PER_PART = 16
"""An answer in words comes in such parts, which show that the engine is at work."""


class VLLMEngine:
    """One engine in this process; it starts with the first request, or by `start`.

    `threads` bounds the cores of an engine without a GPU; `gpus` is what Ray lent this process, a
    fraction below 1 or a whole number.
    """

    def __init__(self, section: LLMSection, *, threads: int, gpus: float = 0) -> None:
        self._section = section
        self._threads = threads
        self._gpus = gpus
        self._opening: asyncio.Task[EngineProcesses] | None = None
        self._chat: Chat | None = None
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="chat")
        self._numbers = itertools.count()

    async def ask(self, request: Request) -> Answer:
        """One answer. Raises LLMError if the engine cannot start, EngineDied if it died."""
        running = await self._running()
        loop = asyncio.get_running_loop()
        prompt_ids, answer_ids, sampling = await loop.run_in_executor(
            self._tokenizing, self._prepared, request
        )
        token_ids = prompt_ids + answer_ids
        room = self._section.max_model_len - request.max_tokens
        if len(token_ids) > room:
            why = f"the prompt has {len(token_ids)} tokens, max_model_len leaves room for {room}"
            return Answer(why, "error", num_prompt_tokens=len(token_ids))
        from vllm.exceptions import VLLMClientError, VLLMServerError

        try:
            output = await running.outcome(self._generated(running, token_ids, sampling))
            if answer_ids and output.num_cached_tokens >= len(prompt_ids):  # it was given before
                sampling.skip_reading_prefix_cache = True
                output = await running.outcome(self._generated(running, token_ids, sampling))
        except VLLMClientError as error:
            return Answer(str(error), "error", num_prompt_tokens=len(token_ids))
        except VLLMServerError as error:
            raise TransientError(f"The vLLM engine lost a request ({error}); ask again.") from error
        return self._answer(request, output, answer_ids)

    async def start(self) -> None:
        """Start the engine, unless it runs. Raises LLMError."""
        await self._running()

    async def close(self) -> None:
        """Stop the engine; none of its processes is left."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError, LLMError):
            await (await opening).close()

    async def reset_prefix_cache(self) -> None:
        """Forget the beginnings of earlier prompts, for measurements that must not help another.

        Raises as `ask` does.
        """
        running = await self._running()
        await running.outcome(running.engine.reset_prefix_cache())

    async def _running(self) -> EngineProcesses:
        while True:
            if self._opening is None:
                self._opening = asyncio.create_task(self._opened())
            opening = self._opening
            try:  # shielded: a request that is cancelled takes no engine from the others
                running = await asyncio.shield(opening)
            except BaseException as error:
                if opening.done() and self._opening is opening:
                    self._opening = None
                if opening.cancelled() and isinstance(error, asyncio.CancelledError):
                    raise EngineDied("The vLLM engine was closed while it started.") from None
                raise
            if not running.is_over:
                return running
            await running.close()  # a card holds one engine: the dead one leaves it first
            if self._opening is opening:
                self._opening = None

    async def _opened(self) -> EngineProcesses:
        """A new engine. An engine that is killed while it starts is started once more."""
        for is_last in (False, True):
            running = EngineProcesses(self._section.timeout_s)
            try:
                await running.open(self._made)
                break
            except LLMError:
                raise
            except Exception as error:
                if is_last or not ended_silently(error, running.output):
                    why = start_failure(self._section.model, error, running.output)
                    raise LLMError(why) from error
        # vLLM reads its own copy in the loop while this one is at work in its thread.
        tokenizer = copy.deepcopy(running.engine.get_tokenizer())
        self._chat = Chat(tokenizer, self._section.model, self._section.chat_template_kwargs)
        return running

    def _made(self) -> Any:
        _set_environment(self._section, self._threads)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = engine_arguments(self._section, gpus=self._gpus, is_cpu=_is_cpu())
        # Batches as large as those of `vllm.LLM`; an async engine's own are made for latency.
        context = UsageContext.LLM_CLASS
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), usage_context=context)

    def _prepared(self, request: Request) -> tuple[list[int], list[int], Any]:
        """The tokens of the prompt and of a given answer, and how to sample."""
        assert self._chat is not None
        given = [] if request.answer is None else self._chat.answer_ids(request.answer)
        return self._chat.token_ids(request), given, self._sampling(request)

    async def _generated(
        self, running: EngineProcesses, token_ids: list[int], sampling: Any
    ) -> Any:
        """The last output, with the parts of the text put together."""
        from vllm.inputs import TokensPrompt

        prompt = TokensPrompt(prompt_token_ids=token_ids)
        parts = []
        async for output in running.engine.generate(prompt, sampling, f"r{next(self._numbers)}"):
            running.saw_output()
            parts.append(output.outputs[0])
        parts[-1].text = "".join(part.text for part in parts)
        parts[-1].token_ids = [token for part in parts for token in part.token_ids]
        return output

    def _sampling(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import (
            RepetitionDetectionParams,
            RequestOutputKind,
            StructuredOutputsParams,
        )

        common: dict[str, Any] = {
            "temperature": request.temperature,
            "seed": request.seed % 2**31,
        }
        if request.choices is not None:
            tokens = list(self._tokens(request.choices).values())
            return SamplingParams(
                max_tokens=1, allowed_token_ids=tokens, logprob_token_ids=tokens, **common
            )
        if request.answer is not None:
            return SamplingParams(
                max_tokens=1,
                prompt_logprobs=0,
                skip_reading_prefix_cache=False,
                detokenize=False,  # vLLM has random token ids where it read the cache
                **common,
            )
        structured = None
        if request.json_schema is not None:
            structured = StructuredOutputsParams(json=dict(request.json_schema))
        return SamplingParams(
            max_tokens=request.max_tokens,
            structured_outputs=structured,
            repetition_detection=RepetitionDetectionParams(**_LOOP),
            output_kind=RequestOutputKind.DELTA,
            stream_interval=_TOKENS_PER_PART,
            **common,
        )

    def _tokens(self, choices: tuple[str, ...]) -> Mapping[str, int]:
        assert self._chat is not None
        return self._chat.choice_tokens(choices)

    def _answer(self, request: Request, output: Any, answer_ids: list[int]) -> Answer:
        completion = output.outputs[0]
        logprobs, given = None, None
        if request.choices is not None:
            seen = completion.logprobs[0]
            tokens = self._tokens(request.choices)
            logprobs = {choice: float(seen[token].logprob) for choice, token in tokens.items()}
        if request.answer is not None:
            seen = output.prompt_logprobs[len(output.prompt_logprobs) - len(answer_ids) :]
            given = [float(one[token].logprob) for one, token in zip(seen, answer_ids, strict=True)]
        return Answer(
            text=completion.text,
            finish_reason="stop" if completion.finish_reason == "stop" else "length",
            choice_logprobs=logprobs,
            num_prompt_tokens=len(output.prompt_token_ids),
            num_generated_tokens=len(completion.token_ids),
            num_cached_tokens=output.num_cached_tokens or 0,
            answer_logprobs=given,
        )


def engine_arguments(section: LLMSection, *, gpus: float, is_cpu: bool) -> dict[str, Any]:
    """What vLLM is started with: the config's own `engine_args` win."""
    arguments: dict[str, Any] = {
        "model": section.model,
        "dtype": section.dtype,
        "max_model_len": section.max_model_len,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        # Small models love endless line breaks, which any grammar of JSON allows; only xgrammar
        # can forbid them, and only for a whole engine.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if is_cpu:
        arguments |= _CPU_ARGUMENTS
        if section.dtype == "auto" and not has_bfloat16(_cpu_info()):
            arguments["dtype"] = "float32"
    if 0 < gpus < 1:
        arguments["gpu_memory_utilization"] = round(_SHARE_OF_FRACTION * gpus, 4)
    return arguments | section.engine_args


def has_bfloat16(cpu_info: str) -> bool:
    """Whether a CPU, by its /proc/cpuinfo, multiplies bfloat16 matrices. One that does not is five
    times slower in bfloat16 than in float32 (SmolLM2-135M on an AMD EPYC with AVX2), and vLLM's
    own "auto" takes bfloat16 on every CPU.
    """
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu_info.split()))


def engine_environment(section: LLMSection, threads: int, *, is_cpu: bool) -> dict[str, str]:
    """What vLLM reads at import. `threads` bounds the cores of an engine without a GPU."""
    variables = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if section.batch_invariant:
        variables["VLLM_BATCH_INVARIANT"] = "1"
    if is_cpu:
        variables |= {
            "VLLM_CPU_KVCACHE_SPACE": "2",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(threads),
            # The model runs in the core's own process: in one of its own, as vLLM would have it
            # here, the core spins for its answers on a core that the model's threads need.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
    return variables


def _set_environment(section: LLMSection, threads: int) -> None:
    """Whoever set a variable already is left alone."""
    for name, value in engine_environment(section, threads, is_cpu=_is_cpu()).items():
        os.environ.setdefault(name, value)


def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return ""


def _is_cpu() -> bool:
    spec = find_spec("torch")
    if spec is None:
        return True
    import torch

    return not torch.cuda.is_available()
