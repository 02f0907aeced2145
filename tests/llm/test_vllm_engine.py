"""A real vLLM engine in a real Ray actor, with the demo's subject as LLM."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from ray_autointerp.cluster.workers import LLMWorker, environment
from ray_autointerp.config import Config, LLMSection
from ray_autointerp.errors import LLMError, TransientError
from ray_autointerp.llm.door import Answer, Request
from ray_autointerp.llm.open import check_llm, open_llm
from ray_autointerp.plan.shards import Axes
from ray_autointerp.prompts import judge, sentences
from ray_autointerp.prompts.message import Message
from ray_autointerp.stages.run import Run

Planted = Callable[..., Config]
MODEL = Path.home() / ".cache" / "ray_autointerp" / "SmolLM2-135M-Instruct"
pytestmark = pytest.mark.timeout(600)


class Asked(LLMWorker):
    """The worker of a run, asked directly."""

    async def ask(self, requests: list[Request]) -> list[Answer]:
        desk = await self._opened()
        return list(await asyncio.gather(*(desk.llm.ask(request) for request in requests)))


@pytest.fixture(scope="module")
def ask(
    ray_cluster: None, planted_config: Planted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., list[Answer]]]:
    section = {
        "backend": "vllm",
        "model": str(MODEL),
        "dtype": "float32",
        "max_model_len": 1024,
    }
    changes: dict[str, Any] = {"llm": section, "operations": {"threads": 2}}
    config = planted_config(tmp_path_factory.mktemp("engine"), changes)
    run = Run(config, Axes(1, {}, 1, 1, {}, 4, 4), "unused")
    worker = ray.remote(Asked).options(runtime_env=environment(run)).remote(run)  # type: ignore[arg-type]
    yield lambda *requests: ray.get(worker.ask.remote(list(requests)))
    children = processes_named("VLLM::")
    ray.get(worker.close.remote())
    ray.kill(worker)
    assert children, "the engine core is a process of its own"
    assert not set(children) & set(processes_named("VLLM::")), "closing leaves no child process"


def processes_named(start: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(start.encode()):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def chat(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def test_free_text_is_answered_and_counted(ask: Callable[..., list[Answer]]) -> None:
    (answer,) = ask(Request(chat("Say hello."), max_tokens=12))
    assert answer.text.strip()
    assert answer.num_prompt_tokens > 5
    assert 0 < answer.num_generated_tokens <= 12


def test_json_answers_follow_the_schema_even_from_a_small_model(
    ask: Callable[..., list[Answer]],
) -> None:
    asked = [
        Request(
            sentences.ask(f"words about {word}", 2),
            max_tokens=4 * 64,
            temperature=0.7,
            seed=seed,
            json_schema=sentences.schema(2),
        )
        for seed, word in enumerate(["cats", "taxes", "the sea"])
    ]
    for answer in ask(*asked):
        assert answer.finish_reason == "stop", answer.text
        read = sentences.read(answer.text, answer.finish_reason, 2)
        assert len(read.activating) == len(read.neutral) == 2
        assert answer.text == json.dumps(
            json.loads(answer.text), separators=(",", ":"), ensure_ascii=False
        ), "no white space is spent"


def test_choice_costs_one_token_and_tells_the_log_probability_of_each(
    ask: Callable[..., list[Answer]],
) -> None:
    messages = judge.ask_two("words about cats", ["the cat purred"], ["a tax on wool"])
    requests = [
        Request(messages, max_tokens=1, choices=choices) for choices in (("A", "B"), ("B", "A"))
    ]
    for answer in ask(*requests):
        assert answer.num_generated_tokens == 1
        assert answer.choice_logprobs is not None
        assert set(answer.choice_logprobs) == {"A", "B"}
        assert answer.text == max(answer.choice_logprobs, key=answer.choice_logprobs.__getitem__)
        assert 0 < sum(math.exp(logprob) for logprob in answer.choice_logprobs.values()) <= 1


def test_log_probability_of_a_choice_is_the_models_own(ask: Callable[..., list[Answer]]) -> None:
    """Against Hugging Face's forward pass, before any mask or temperature."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    messages = judge.ask_two("words about cats", ["the cat purred"], ["a tax on wool"])
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    ids = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    with torch.inference_mode():
        logits = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32)(ids).logits[0, -1]
    logprobs = logits.log_softmax(-1)
    (answer,) = ask(Request(messages, max_tokens=1, temperature=0.7, choices=("A", "B")))
    assert answer.choice_logprobs is not None
    for choice, found in answer.choice_logprobs.items():
        wanted = float(logprobs[tokenizer.encode(choice, add_special_tokens=False)[0]])
        assert found == pytest.approx(wanted, abs=0.02)


def test_prompt_that_does_not_fit_is_an_answer_with_the_reason(
    ask: Callable[..., list[Answer]],
) -> None:
    too_long, short = ask(
        Request(chat("word " * 2000), max_tokens=5), Request(chat("Say hello."), max_tokens=5)
    )
    assert too_long.finish_reason == "error"
    assert "max_model_len leaves room for 1019" in too_long.text
    assert short.text.strip(), "the engine goes on"


def test_many_long_sampled_prompts_at_once_are_all_answered(
    ask: Callable[..., list[Answer]],
) -> None:
    """More prompt tokens than one step takes; a CPU engine may read none in two parts."""
    asked = [
        Request(chat(f"{number} " + "word " * 700), max_tokens=4, temperature=0.7, seed=number)
        for number in range(8)
    ]
    assert all(answer.num_generated_tokens for answer in ask(*asked))


def test_shared_beginning_of_prompts_is_read_from_the_cache(
    ask: Callable[..., list[Answer]],
) -> None:
    start = "It was a long story about the harbour and the people who lived there. " * 20
    ask(Request(chat(start + "One."), max_tokens=1))
    (second,) = ask(Request(chat(start + "Two."), max_tokens=1))
    assert second.num_cached_tokens > 100


def test_answer_in_a_loop_is_cut_and_told_as_cut(ask: Callable[..., list[Answer]]) -> None:
    asked = "Repeat without end: the sea, the sea, the sea, the sea, the sea, the sea, the sea,"
    (answer,) = ask(Request(chat(asked), max_tokens=400))
    assert answer.finish_reason == "length"
    assert answer.num_generated_tokens < 400


def test_engine_that_died_is_started_again(ask: Callable[..., list[Answer]]) -> None:
    """Who asked at that moment is told to try again; who asks next is answered."""
    for process in processes_named("VLLM::"):
        os.kill(process, signal.SIGKILL)
    with pytest.raises(TransientError, match="engine died"):
        for _ in range(20):  # the front notices within a moment
            ask(Request(chat("Say hello."), max_tokens=4))
            time.sleep(0.5)
    (answer,) = ask(Request(chat("Say hello."), max_tokens=4))
    assert answer.num_generated_tokens


def test_engine_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LLMError, match=r"directory .*nowhere does not exist or has no config"):
        check_llm(LLMSection(model=str(tmp_path / "nowhere")), gpus=0)
    program = (
        "import asyncio, sys\n"
        "from ray_autointerp.config import LLMSection\n"
        "from ray_autointerp.errors import LLMError\n"
        "from ray_autointerp.llm.door import Request\n"
        "from ray_autointerp.llm.open import open_llm\n"
        "from ray_autointerp.prompts.message import Message\n"
        "llm = open_llm(LLMSection(model=sys.argv[1], max_model_len=10**6), threads=1)\n"
        "try:\n"
        "    asyncio.run(llm.ask(Request((Message('user', 'x'),), max_tokens=1)))\n"
        "except LLMError as error:\n"
        "    print('SAID', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(MODEL)], capture_output=True, text=True, check=False
    )
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    assert "max_model_len (1000000) is greater than" in said


def test_open_llm_starts_nothing_before_the_first_question() -> None:
    before = set(processes_named("VLLM::"))
    llm = open_llm(LLMSection(model=str(MODEL)), threads=1)
    asyncio.run(llm.close())
    assert set(processes_named("VLLM::")) <= before
