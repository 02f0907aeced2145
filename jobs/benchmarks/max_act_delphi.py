"""The MaxAct pass against the activation cache of delphi 0.1.3: equal tokens, SAE and outputs.

    .venv/bin/python jobs/benchmarks/max_act_delphi.py --delphi DELPHI_VENV/bin/python \
        [--width 4096 --tokens 500000] [--rounds 5]

delphi needs an environment of its own (README.md beside this file says how to make it); each side
runs in a fresh process, in turn. The subject is a random GPT-NeoX of two layers with a model
dimension of 64, tokens are Zipf-distributed, windows are 256 tokens long, the SAE is a sparsify
TopK of k = 32: nearly all that is measured is bookkeeping, which is what differs. Equal outputs:
the tokens and every non-zero (window, position, latent, value), from both. Ours also gathers what
a run asks of the pass (the top 100 and 20 stratified examples per latent and side, firing
statistics), delphi's its firing counts. delphi takes 8 windows at a time, as its harness does; ours
as many as asked, in shards as asked. Not counted: loading, counting the
non-zeros, and on our side cutting the corpus. Memory is the peak resident set during the pass
above that after loading. Prints JSON lines.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WINDOW = 256
VOCABULARY = 5000
D_MODEL = 64
K = 32
HOOK = "layers.1"


def main() -> None:
    """Make the subject, the SAE and the tokens; run both sides in turn; print medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--delphi", help="the python of delphi's environment")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens-per-shard", type=int, default=100_000, help="ours")
    parser.add_argument("--micro-batch", type=int, default=128, help="ours; 0 finds its own")
    parser.add_argument("--side", choices=("ours", "delphi"), help="run one side in this process")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.side is not None:
        if asked.side == "delphi":
            row = delphi(asked.folder, asked.tokens)
        else:
            row = ours(asked.folder, asked.tokens, asked.tokens_per_shard, asked.micro_batch)
        print(json.dumps(row), flush=True)
        return
    from race import machine, median_of, report

    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), asked.width, asked.tokens)
        rows: dict[str, list[dict[str, float]]] = {"ours": [], "delphi": []}
        for number in range(asked.rounds + 1):
            for side in list(rows)[:: 1 if number % 2 else -1]:
                row = _in_a_process(side, Path(folder), asked)
                if number:  # the first of each only warms the file cache
                    rows[side].append(row)
                    report(side=side, **row)
    medians = {
        side: {name: median_of(found, name) for name in found[0]} for side, found in rows.items()
    }
    report(
        race=f"MaxAct against delphi 0.1.3's cache, width {asked.width}",
        machine=machine(),
        **{
            f"{side}_{name}": value
            for side, found in medians.items()
            for name, value in found.items()
        },
        tokens_per_second_ratio=medians["ours"]["tokens_per_second"]
        / medians["delphi"]["tokens_per_second"],
        memory_share=medians["ours"]["peak_mb"] / medians["delphi"]["peak_mb"],
    )


def _in_a_process(side: str, folder: Path, asked: argparse.Namespace) -> dict[str, float]:
    python = sys.executable if side == "ours" else asked.delphi
    command = [python, __file__, "--side", side, "--folder", str(folder)]
    command += ["--tokens", str(asked.tokens), "--micro-batch", str(asked.micro_batch)]
    command += ["--tokens-per-shard", str(asked.tokens_per_shard)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def make(folder: Path, width: int, num_tokens: int) -> None:
    """The subject, a sparsify checkpoint, and the tokens for both."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=D_MODEL,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * D_MODEL,
        max_position_embeddings=WINDOW,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder / "model")
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / "model")
    decoder = torch.nn.functional.normalize(torch.randn(width, D_MODEL), dim=-1)
    sae = folder / "sae" / HOOK
    sae.mkdir(parents=True)
    weights = {
        "encoder.weight": decoder.clone(),
        "encoder.bias": torch.zeros(width),
        "W_dec": decoder,
        "b_dec": torch.zeros(D_MODEL),
    }
    save_file(weights, sae / "sae.safetensors")
    cfg = {"expansion_factor": width // D_MODEL, "k": K, "d_in": D_MODEL, "num_latents": width}
    (sae / "cfg.json").write_text(json.dumps(cfg))
    draws = np.random.default_rng(0)
    shares = 1 / np.arange(1, VOCABULARY + 1)
    tokens = draws.choice(
        VOCABULARY, (num_tokens // WINDOW, WINDOW), p=shares / shares.sum()
    ).astype(np.int64)
    np.save(folder / "tokens.npy", tokens)
    documents = {"tokens": list(tokens), "document_id": [str(i) for i in range(len(tokens))]}
    pq.write_table(pa.table(documents), folder / "corpus.parquet")


def measured(work: Callable[[], None], num_tokens: int) -> dict[str, float]:
    """Seconds and peak memory of the work."""
    after_loading = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "tokens_per_second": num_tokens / seconds,
        "peak_mb": (_status("VmHWM") - after_loading) / 1024,
    }


def _status(name: str) -> int:
    """In kB, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def delphi(folder: Path, num_tokens: int) -> dict[str, float]:
    """Its cache, batches of 8 windows, five splits saved."""
    _stand_in_for_vllm()
    import numpy as np
    import torch
    from delphi.latents import LatentCache
    from delphi.sparse_coders.load_sparsify import load_sparsify_hooks
    from transformers import AutoModel

    torch.set_num_threads(2)
    model = AutoModel.from_pretrained(folder / "model")
    encode, transcode = load_sparsify_hooks(model, str(folder / "sae"), [HOOK])
    tokens = torch.from_numpy(np.load(folder / "tokens.npy"))
    cache = LatentCache(model, encode, batch_size=8, transcode=transcode)
    cache.run(8 * WINDOW, tokens[:8])
    cache = LatentCache(model, encode, batch_size=8, transcode=transcode)
    out = folder / f"delphi-{time.time_ns()}"

    def work() -> None:
        cache.run(num_tokens, tokens)
        cache.save_splits(n_splits=5, save_dir=out)

    row = measured(work, len(tokens) // 8 * 8 * WINDOW)
    return {**row, "nonzeros": sum(len(x) for x in cache.cache.latent_activations.values())}


def _stand_in_for_vllm() -> None:
    """What delphi imports at its top and its cache does not use."""
    import types

    names = ("vllm", "vllm.distributed", "vllm.distributed.parallel_state", "vllm.inputs")
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["vllm"].LLM = modules["vllm"].SamplingParams = type("Unused", (), {})
    modules["vllm.inputs"].TokensPrompt = dict
    state = modules["vllm.distributed.parallel_state"]
    state.destroy_distributed_environment = state.destroy_model_parallel = lambda: None
    sys.modules.update(modules)


def ours(
    folder: Path, num_tokens: int, tokens_per_shard: int, micro_batch: int
) -> dict[str, float]:
    """The stage as a run calls it, every window in the sample whose non-zeros are all kept."""
    import pyarrow.compute as pc

    from ray_autointerp.config_file import parse_config
    from ray_autointerp.execution.execute import execute
    from ray_autointerp.preflight.check import check
    from ray_autointerp.records.task import Task
    from ray_autointerp.runs.context import WorkerContext
    from ray_autointerp.runs.manifest import open_run
    from ray_autointerp.stages import corpus

    num_windows = num_tokens // WINDOW
    config = {
        "run": {"name": f"ours-{time.time_ns()}", "root": str(folder)},
        "subject": {"model": str(folder / "model")},
        "sae": [{"id": "random", "path": str(folder / "sae" / HOOK)}],
        "corpus": {
            "path": str(folder / "corpus.parquet"),
            "tokens_column": "tokens",
            "id_column": "document_id",
            "window": WINDOW,
            "prepend_bos": False,
            "num_tokens": num_tokens,
            "tokens_per_shard": tokens_per_shard,
        },
        "evidence": {"sample_windows": num_windows},
        "operations": {"micro_batch": micro_batch},
        "llm": {"backend": "scripted", "script": "ray_autointerp.llm.scripted:ScriptedLLM"},
    }
    checked = check(parse_config(config, folder / "race.toml"))
    run = open_run(checked.config, checked.axes, checked.inputs, checked.micro_batch)
    context = WorkerContext(run)
    shards = run.axes.num_token_shards
    for shard in range(shards):
        corpus.run(Task("corpus", None, None, shard, shards), context)
    subject, sae = context.subject, context.sae("random")
    sae.activations(subject.residual(first_window(context), subject.site(sae.hook_point)))

    def work() -> None:
        for shard in range(shards):
            asyncio.run(execute(Task("max_act", None, None, shard, shards), context))

    row = measured(work, num_windows * WINDOW)
    sample = context.tables.read("window_sample", "random", columns=["latents"])
    return {**row, "nonzeros": int(pc.sum(pc.list_value_length(sample["latents"])).as_py())}


def first_window(context: Any) -> Any:
    """One window, to warm up on."""
    import torch

    tokens = context.tables.read("tokens", None, shards=[0])
    return torch.tensor(tokens["token_ids"].slice(0, 1).to_pylist())


if __name__ == "__main__":
    main()
