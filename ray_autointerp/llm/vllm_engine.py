"""vLLM's async engine behind the door: continuous batching, JSON by schema, choices by log-prob.

A choice is one generated token; the log-probabilities of exactly the choices' first tokens are
asked for (`logprob_token_ids`), raw, so that no grammar or temperature distorts them. Prompts go
in as token ids of the model's own chat template. Knows no stages, no Ray.
"""

import asyncio
import itertools
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError, TransientError
from ray_autointerp.llm.door import Answer, Request

_CPU_ARGUMENTS = {
    "enforce_eager": True,
    # A seeded request whose prompt is read in two parts kills a CPU engine (vLLM 0.32: it rewinds
    # the request's generator, which torch cannot do on a CPU).
    "enable_chunked_prefill": False,
    # Beginnings of prompts are shared in whole blocks; 128, the default here, shares little.
    "block_size": 32,
}

_LOOP = {"min_pattern_size": 2, "max_pattern_size": 24, "min_count": 4}
"""Tokens that say the same four times over: a small model in a loop would go on to the limit."""


class VLLMEngine:
    """One engine in this process; it starts with the first request, or when told to."""

    def __init__(self, section: LLMSection, *, threads: int) -> None:
        self._section = section
        self._threads = threads
        self._engine: Any = None
        self._tokenizer: Any = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count()

    async def ask(self, request: Request) -> Answer:
        """One answer. Raises LLMError if the engine cannot start, TransientError if it died."""
        await self.start()
        token_ids = self._rendered(request)
        room = self._section.max_model_len - request.max_tokens
        if len(token_ids) > room:
            why = f"the prompt has {len(token_ids)} tokens, max_model_len leaves room for {room}"
            return Answer(why, "error", num_prompt_tokens=len(token_ids))
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        engine = self._engine
        answers = engine.generate(
            TokensPrompt(prompt_token_ids=token_ids),
            self._sampling(request),
            f"r{next(self._numbers)}",
        )
        try:
            (output,) = [answer async for answer in answers]
        except EngineDeadError as error:
            if self._engine is engine:  # the first of the requests that were in flight
                await self.close()
            raise TransientError(
                "The vLLM engine died; the log of its worker says why. A new one is started."
            ) from error
        return self._answer(request, output)

    async def close(self) -> None:
        """Stop the engine and its child process."""
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    async def start(self) -> None:
        """Start the engine, unless it runs. Raises LLMError."""
        async with self._starting:
            if self._engine is None:
                self._engine = self._start()
                self._tokenizer = self._engine.get_tokenizer()
                if asyncio.iscoroutine(self._tokenizer):
                    self._tokenizer = await self._tokenizer

    def _start(self) -> Any:
        _set_environment(self._threads)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        section = self._section
        arguments: dict[str, Any] = {
            "model": section.model,
            "dtype": section.dtype,
            "max_model_len": section.max_model_len,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            # Small models love endless line breaks, which any grammar of JSON allows; only xgrammar
            # can forbid them, and only for a whole engine.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            **(_CPU_ARGUMENTS if _is_cpu() else {}),
            **section.engine_args,
        }
        try:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        except (ValueError, RuntimeError, OSError, TypeError) as error:
            raise LLMError(_start_failure(section.model, error)) from error

    def _rendered(self, request: Request) -> list[int]:
        from jinja2 import TemplateError

        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        try:
            return self._template(messages)
        except TemplateError:  # Gemma's and others' templates know no system turn
            if len(messages) < 2 or messages[0]["role"] != "system":
                raise
            system, first, *rest = messages
            joined = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
            return self._template([joined, *rest])

    def _template(self, messages: list[dict[str, str]]) -> list[int]:
        try:
            ids = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except ValueError as error:
            raise LLMError(
                f"{self._section.model} has no chat template: set llm.model to an instruct model."
            ) from error
        return list(ids)

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
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        if request.choices is not None:
            tokens = list(self._choice_tokens(request.choices).values())
            return SamplingParams(
                max_tokens=1, allowed_token_ids=tokens, logprob_token_ids=tokens, **common
            )
        structured = None
        if request.json_schema is not None:
            structured = StructuredOutputsParams(json=dict(request.json_schema))
        return SamplingParams(
            max_tokens=request.max_tokens,
            structured_outputs=structured,
            repetition_detection=RepetitionDetectionParams(**_LOOP),
            **common,
        )

    def _choice_tokens(self, choices: tuple[str, ...]) -> Mapping[str, int]:
        tokens = {c: self._tokenizer.encode(c, add_special_tokens=False)[0] for c in choices}
        if len(set(tokens.values())) < len(choices):
            raise LLMError(
                f"The tokenizer of {self._section.model} begins several of the answers "
                f"{', '.join(choices)} with one token: it cannot be the judge."
            )
        return tokens

    def _answer(self, request: Request, output: Any) -> Answer:
        said = output.outputs[0]
        logprobs = None
        if request.choices is not None:
            seen = said.logprobs[0]
            tokens = self._choice_tokens(request.choices)
            logprobs = {choice: float(seen[token].logprob) for choice, token in tokens.items()}
        return Answer(
            text=said.text,
            finish_reason="stop" if said.finish_reason == "stop" else "length",
            choice_logprobs=logprobs,
            num_prompt_tokens=len(output.prompt_token_ids),
            num_generated_tokens=len(said.token_ids),
            num_cached_tokens=output.num_cached_tokens or 0,
        )


def _is_cpu() -> bool:
    spec = find_spec("torch")
    if spec is None:
        return True
    import torch

    return not torch.cuda.is_available()


def _set_environment(threads: int) -> None:
    """What vLLM reads at import; whoever set a variable already is left alone."""
    defaults = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if _is_cpu():
        defaults |= {
            "VLLM_CPU_KVCACHE_SPACE": "2",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(threads),
        }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _start_failure(model: str, error: Exception) -> str:
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    if "validation error" in lines[0]:  # pydantic's headline; the sentence is below it
        lines = lines[1:]
    first = lines[0].removeprefix("Value error, ").partition(". ")[0].rstrip(".")
    if not Path(model).is_dir() and ("not a valid model" in text or "offline" in text.lower()):
        return f"The LLM {model} is neither a local directory nor to be had from the hub: {first}."
    if "KV cache" in text or "memory" in text.lower():
        return (
            f"vLLM has not enough memory for {model}: lower llm.max_model_len, or give more with "
            f"llm.engine_args ({first})."
        )
    if "dtype" in text.lower():
        return f"vLLM cannot serve {model} in this dtype; set llm.dtype ({first})."
    return f"vLLM cannot start with {model}: {first}."
