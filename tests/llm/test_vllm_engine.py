"""A real vLLM engine in a real Ray actor, with the demo's subject as LLM."""

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from killers import processes
from transformers import AutoTokenizer

from ray_autointerp.cluster.workers import LLMWorker, environment
from ray_autointerp.config import Config, LLMSection
from ray_autointerp.errors import EngineDied, LLMError
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.open import check_llm, open_llm
from ray_autointerp.llm.reaper import marked
from ray_autointerp.llm.vllm_engine import (
    VLLMEngine,
    engine_arguments,
    engine_environment,
)
from ray_autointerp.plan.shards import Axes
from ray_autointerp.prompts import intervention_surprisal, judge, sentences
from ray_autointerp.prompts.message import Message
from ray_autointerp.runs.run import Run

Planted = Callable[..., Config]
MODEL = Path.home() / ".cache" / "ray_autointerp" / "SmolLM2-135M-Instruct"
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


class Asked(LLMWorker):
    """The worker of a run, asked directly."""

    async def ask(self, requests: list[Request]) -> list[Answer]:
        context = await self._opened()
        return list(await asyncio.gather(*(context.llm.ask(request) for request in requests)))

    async def outcomes(self, requests: list[Request]) -> list[str]:
        """The error of each request, or nothing."""
        llm = (await self._opened()).llm
        asked = (llm.ask(request) for request in requests)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        return [f"{type(e).__name__}: {e}" if isinstance(e, Exception) else "" for e in ends]

    async def batch(self) -> tuple[int, int]:
        """The most requests and the most tokens of a step."""
        llm = (await self._opened()).llm
        assert isinstance(llm, VLLMEngine)
        scheduler = (await llm._running()).engine.vllm_config.scheduler_config
        return scheduler.max_num_seqs, scheduler.max_num_batched_tokens

    async def forget(self) -> None:
        llm = (await self._opened()).llm
        assert isinstance(llm, VLLMEngine)
        await llm.reset_prefix_cache()


@pytest.fixture(scope="module")
def worker(
    ray_cluster: None, planted_config: Planted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    section = {
        "backend": "vllm",
        "model": str(MODEL),
        "dtype": "float32",
        "max_model_len": 1024,
        "timeout_s": 40,
    }
    changes: dict[str, Any] = {"llm": section, "operations": {"threads": 2}}
    config = planted_config(tmp_path_factory.mktemp("engine"), changes)
    run = Run(config, Axes(1, {}, 1, 1, {}, 4, 4), "unused")
    worker = ray.remote(Asked).options(runtime_env=environment(run)).remote(run)  # type: ignore[arg-type]
    yield worker
    ray.get(worker.close.remote())
    ray.kill(worker)


@pytest.fixture(scope="module")
def ask(worker: Any) -> Callable[..., list[Answer]]:
    return lambda *requests: ray.get(worker.ask.remote(list(requests)))


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
            sentences.ask(sentences.BOTH, f"words about {word}", 2),
            max_tokens=4 * 64,
            temperature=0.7,
            seed=seed,
            json_schema=sentences.schema(sentences.BOTH, 2),
        )
        for seed, word in enumerate(["cats", "taxes", "the sea"])
    ]
    for answer in ask(*asked):
        assert answer.finish_reason == "stop", answer.text
        read = sentences.read(sentences.BOTH, answer.text, answer.finish_reason, 2)
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


def test_log_probability_of_a_given_answer_is_the_models_own(
    ask: Callable[..., list[Answer]],
) -> None:
    """Against Hugging Face's forward pass, token by token: with the prompt read from the cache, and
    where the answer is in the cache too, since it was given before.
    """
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    messages = intervention_surprisal.ask(["the cat purred " * 20, "a tax on wool"])
    long = "and then the cat purred again, " * 10
    given = ("Words about cats.", long, 'fires on "purr", "miau";\npromotes "Kätzchen"', "x")
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    prompt = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages],
        add_generation_prompt=True,
        return_dict=False,
    )
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    ask(Request(messages, max_tokens=4))
    requests = [Request(messages, max_tokens=1, answer=answer) for answer in given]
    first, again = ask(*requests), ask(*requests)
    assert all(100 < answer.num_cached_tokens < len(prompt) for answer in first)
    for text, answer in zip((*given, *given), (*first, *again), strict=True):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        wanted = logits.log_softmax(-1)[torch.arange(len(tokens)), torch.tensor(tokens)]
        assert answer.answer_logprobs == pytest.approx(wanted.tolist(), abs=1e-3)
        assert answer.num_prompt_tokens == len(prompt) + len(tokens)
        assert answer.num_generated_tokens == 1


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


def test_shared_beginning_of_prompts_is_read_from_the_cache_until_that_is_reset(
    worker: Any, ask: Callable[..., list[Answer]]
) -> None:
    start = "It was a long story about the harbour and the people who lived there. " * 20
    ask(Request(chat(start + "One."), max_tokens=1))
    (second,) = ask(Request(chat(start + "Two."), max_tokens=1))
    assert second.num_cached_tokens > 100
    ray.get(worker.forget.remote())
    (third,) = ask(Request(chat(start + "Three."), max_tokens=1))
    assert third.num_cached_tokens == 0


def test_answer_in_a_loop_is_cut_and_told_as_cut(ask: Callable[..., list[Answer]]) -> None:
    asked = "Repeat without end: the sea, the sea, the sea, the sea, the sea, the sea, the sea,"
    (answer,) = ask(Request(chat(asked), max_tokens=400))
    assert answer.finish_reason == "length"
    assert answer.num_generated_tokens < 400


def long_answers(number: int) -> list[Request]:
    return [
        Request(chat(f"{n}: tell a story."), max_tokens=400, temperature=1.0, seed=n)
        for n in range(number)
    ]


def test_batches_are_as_large_as_those_of_an_engine_made_for_offline_work(worker: Any) -> None:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext

    tokens, sequences = EngineArgs.get_batch_defaults(1)
    offline = UsageContext.LLM_CLASS
    assert ray.get(worker.batch.remote()) == (sequences[offline], tokens[offline])


def test_model_runs_in_the_process_of_its_core(ask: Callable[..., list[Answer]]) -> None:
    ask(Request(chat("Say hello."), max_tokens=1))
    assert not processes("VLLM::Worker")


def test_every_process_of_an_engine_shows_its_marker(ask: Callable[..., list[Answer]]) -> None:
    """Whoever looks for them afterwards has nothing else to find them by."""
    ask(Request(chat("Say hello."), max_tokens=1))
    engine = processes("VLLM::")
    (marker,) = {marker_of(process) for process in engine}
    assert sorted(marked(marker)) == sorted(engine)


def test_closing_leaves_no_process_and_no_file_and_nothing_was_compiled_anew(
    worker: Any, ask: Callable[..., list[Answer]]
) -> None:
    """Kernels for log-probabilities are compiled for all engines, not into the folder of each."""
    ask(Request(chat("Say hello."), max_tokens=1, choices=("A", "B")))
    children = processes("VLLM::")
    (folder,) = {folder_of(child) for child in children}
    assert any(file.is_socket() for file in folder.iterdir())
    assert not list(folder.glob("torchinductor_*"))
    ray.get(worker.close.remote())
    assert not set(children) & set(processes("VLLM::"))
    assert not folder.exists()


def test_death_of_an_engine_ends_all_that_was_in_flight_and_the_next_is_answered(
    worker: Any, ask: Callable[..., list[Answer]]
) -> None:
    """Also what was being added in that moment, which vLLM itself lets wait for ever."""
    ask(Request(chat("Say hello."), max_tokens=1))
    (folder,) = {folder_of(process) for process in processes("VLLM::")}
    asked = worker.outcomes.remote(long_answers(64))
    time.sleep(0.3)
    for process in processes("VLLM::EngineCore"):
        os.kill(process, signal.SIGKILL)
    ends = ray.get(asked, timeout=60)
    assert all(end.startswith("EngineDied: The vLLM engine died: it was") for end in ends)
    assert all("killed by SIGKILL" in end for end in ends)
    assert until(lambda: not folder.exists())
    (answer,) = ask(Request(chat("Say hello."), max_tokens=4))
    assert answer.num_generated_tokens


def test_engine_that_answers_nothing_for_long_is_ended(
    worker: Any, ask: Callable[..., list[Answer]]
) -> None:
    ask(Request(chat("Say hello."), max_tokens=4))
    engine = processes("VLLM::")
    (core,) = processes("VLLM::EngineCore")
    asked = worker.outcomes.remote(long_answers(8))
    os.kill(core, signal.SIGSTOP)
    assert set(ray.get(asked, timeout=120)) == {
        "EngineDied: The vLLM engine died: it hung: no token for 40 s with 8 requests in flight. "
        "A new one is started."
    }
    assert until(lambda: not set(engine) & set(processes("VLLM::")))


class SlowEngine:
    """In place of vLLM's: answers come in parts, `pause_s` apart."""

    errored = False

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s

    def get_tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(MODEL)

    async def generate(self, prompt: Any, sampling: Any, number: str) -> AsyncIterator[Any]:
        assert sampling.output_kind.name == "DELTA"
        for token, text in enumerate(["one", " two", " three", " four"]):
            await asyncio.sleep(self.pause_s)
            part = SimpleNamespace(text=text, token_ids=[token], finish_reason="stop")
            yield SimpleNamespace(
                outputs=[part], prompt_token_ids=prompt["prompt_token_ids"], num_cached_tokens=0
            )

    def shutdown(self) -> None:
        pass


def test_engine_that_is_slow_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the time, but tokens of it: so many long prompts are read before."""

    async def asked(pause_s: float) -> Answer:
        monkeypatch.setattr(VLLMEngine, "_made", lambda engine: SlowEngine(pause_s))
        section = LLMSection(backend="vllm", model=str(MODEL), timeout_s=2)
        engine = VLLMEngine(section, threads=1)
        try:
            return await engine.ask(Request(chat("Count."), max_tokens=8))
        finally:
            await engine.close()

    answer = asyncio.run(asked(0.8))
    assert (answer.text, answer.num_generated_tokens) == ("one two three four", 4)
    with pytest.raises(EngineDied, match="it hung: no token for 2 s with 1 requests in flight"):
        asyncio.run(asked(60))


def test_engine_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CANNOT_START)
    done = subprocess.run(
        [sys.executable, str(program), str(MODEL)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    assert len(said) == 5, done.stdout + done.stderr
    assert "no/such-model is neither a local directory nor to be had from the hub" in said[0]
    assert "lower llm.max_model_len" in said[1]
    assert "(1000000) is greater than" in said[1]
    assert "correct llm.engine_args" in said[2]
    assert "vLLM has not enough memory" in said[3]
    assert "was killed" in said[4]
    assert "while it started, twice" in said[4]


CANNOT_START = """
import asyncio, os, signal, sys, threading, time
from pathlib import Path
from ray_autointerp.config import LLMSection
from ray_autointerp.errors import LLMError
from ray_autointerp.llm.open import open_llm

MODEL = sys.argv[1]
KNOBS = {"dtype": "float32", "max_model_len": 1024}


async def say(**section):
    llm = open_llm(LLMSection(**section), threads=1)
    try:
        await llm.start()
    except LLMError as error:
        print("SAID", error, flush=True)
    finally:
        await llm.close()


def kill_twice():
    killed = set()
    while len(killed) < 2:
        time.sleep(0.1)
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid() and b"spawn_main" in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
                    killed.add(folder.name)
            except OSError:
                continue


async def main():
    await say(model="no/such-model")
    await say(model=MODEL, dtype="float32", max_model_len=10**6)
    await say(model=MODEL, **KNOBS, engine_args={"no_such_argument": 1})
    await say(model=MODEL, **KNOBS, engine_args={"num_gpu_blocks_override": 4})
    threading.Thread(target=kill_twice, daemon=True).start()
    await say(model=MODEL, **KNOBS)


if __name__ == "__main__":
    asyncio.run(main())
"""


def test_directory_without_a_model_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LLMError, match=r"directory .*nowhere does not exist or has no config"):
        check_llm(LLMSection(model=str(tmp_path / "nowhere")), gpus=0)


def test_engine_on_a_part_of_a_card_takes_less_than_that_part() -> None:
    section = LLMSection(model="some/model")
    assert engine_arguments(section, gpus=0.5, is_cpu=False)["gpu_memory_utilization"] == 0.45
    assert "gpu_memory_utilization" not in engine_arguments(section, gpus=1, is_cpu=False)
    own = section.model_copy(update={"engine_args": {"gpu_memory_utilization": 0.3}})
    assert engine_arguments(own, gpus=0.5, is_cpu=False)["gpu_memory_utilization"] == 0.3


@pytest.mark.parametrize(
    ("flags", "dtype", "taken"),
    [
        ("flags : fma avx2 avx512f avx512_bf16", "auto", "auto"),
        ("flags : fma avx avx2", "auto", "float32"),
        ("flags : fma avx avx2", "bfloat16", "bfloat16"),
        ("Features : asimd bf16", "auto", "auto"),
        ("", "auto", "float32"),
    ],
)
def test_auto_is_no_dtype_that_the_cpu_is_slow_in(
    flags: str, dtype: Any, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_autointerp.llm.vllm_engine._cpu_info", lambda: flags)
    section = LLMSection(model="some/model", dtype=dtype)
    assert engine_arguments(section, gpus=0, is_cpu=True)["dtype"] == taken
    assert engine_arguments(section, gpus=1, is_cpu=False)["dtype"] == dtype


@pytest.mark.parametrize(("gpus", "together", "fits"), [(2, 2, True), (2, 1, False), (1, 2, False)])
def test_gpus_of_an_engine_are_as_many_as_it_is_split_over(
    gpus: float, together: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_autointerp.llm.open._is_cpu_build", lambda: False)
    arguments = {"tensor_parallel_size": together}
    section = LLMSection(model="some/model", engine_args=arguments)
    with contextlib.nullcontext() if fits else pytest.raises(LLMError, match="judge_gpus = "):
        check_llm(section, gpus=gpus, name="judge")


def test_batch_invariance_is_a_switch_of_vllms_own_and_needs_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray_autointerp.llm.open._is_cpu_build", lambda: False)
    section = LLMSection(model="some/model", batch_invariant=True)
    served = LLMSection(
        model="m", backend="endpoint", endpoints=("http://127.0.0.1:1/v1",), batch_invariant=True
    )
    check_llm(section, gpus=1)
    for refused, gpus in ((section, 0), (served, 1)):
        with pytest.raises(LLMError, match=r"judge\.batch_invariant needs a vLLM engine on a GPU"):
            check_llm(refused, gpus=gpus, name="judge")
    name = "VLLM_BATCH_INVARIANT"
    assert engine_environment(section, 1, is_cpu=False)[name] == "1"
    assert name not in engine_environment(LLMSection(model="some/model"), 1, is_cpu=False)
    import vllm.envs

    assert name in vllm.envs.environment_variables, "vLLM has another name for it"


def test_open_llm_starts_nothing_before_the_first_question() -> None:
    llm = open_llm(LLMSection(model=str(MODEL)), threads=1)
    asyncio.run(llm.close())
    assert not [p for p in processes("spawn_main") if marker_of(p)]


def marker_of(process: int) -> str:
    """The environment variable by which an engine's processes are known."""
    pairs = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next((p.decode() for p in pairs if p.startswith(b"RAY_AUTOINTERP_ENGINE=")), "")


def folder_of(process: int) -> Path:
    """Where an engine's process puts temporary files."""
    pairs = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next(Path(p[7:].decode()) for p in pairs if p.startswith(b"TMPDIR="))


def until(is_so: Callable[[], bool], patience_s: float = 30) -> bool:
    deadline = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
