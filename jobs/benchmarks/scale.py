"""Memory of the driver and of each worker, and seconds of each step, by latents and tokens.

    python jobs/benchmarks/scale.py [--cases 16384:1 65536:1 16384:20] [--sample 64] [--root FOLDER]

Each case, latents and millions of tokens, is a whole run on a local Ray in a process of its own:
random token ids, a random subject of two small layers, a random TopK SAE of which 32 latents fire
on a token, a scripted LLM. `--sample` latents are explained and scored, all are published.
Memory is what a process holds alone (resident without what it shares), looked at five times a
second. Prints one JSON line per case: `driver_mb`, `worker_mb` by kind of worker, `seconds` by
step from the ledger, `labels_s` (all publish tasks and the joining of their parts).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from race import machine
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from word_tokenizer import word_tokenizer

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.cluster.run_ray import run_ray
from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.pipeline import label
from ray_autointerp.reports.ledger import step_times
from ray_autointerp.runs.tables import Tables
from ray_autointerp.stages.publish import publish_labels

WIDTH, VOCABULARY, HOOK_POINT = 16, 512, "blocks.0.hook_resid_post"
DOCUMENT = 1_000
"""Tokens of a document."""
ACTIVE = 32
"""Latents that fire on a token."""
LOOK_AGAIN_S = 0.2


def main() -> None:
    """Each case in a process of its own, so that no peak is another's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=["16384:1", "65536:1", "16384:20"])
    parser.add_argument("--sample", type=int, default=64)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(measured(asked.only, asked.sample, asked.root)), flush=True)
        return
    for case in asked.cases:
        with tempfile.TemporaryDirectory() as folder:
            root = asked.root / case.replace(":", "-") if asked.root else Path(folder)
            options = ["--only", case, "--sample", str(asked.sample), "--root", str(root)]
            subprocess.run([sys.executable, __file__, *options], check=True)


def measured(case: str, sample: int, root: Path) -> dict[str, object]:
    """One whole run, watched."""
    latents, millions = int(case.split(":")[0]), float(case.split(":")[1])
    made = write_inputs(root, latents, int(millions * 1_000_000), sample)
    watch = Watch()
    started = time.perf_counter()
    run = label(made, run_ray, Silent())
    took = time.perf_counter() - started
    peaks = watch.stop()
    seconds = {time.step: round(time.seconds, 1) for time in step_times(run)}
    joining = time.perf_counter()
    assert Tables(run).read("labels", "sae").num_rows == latents
    publish_labels(run, "sae")
    joining = time.perf_counter() - joining
    return {
        "latents": latents,
        "million_tokens": millions,
        "driver_mb": peaks.pop("driver"),
        "worker_mb": peaks,
        "seconds": seconds,
        "labels_s": round(seconds["publish"] + joining, 1),
        "wall_s": round(took, 1),
        "machine": machine(),
    }


class Watch:
    """The peaks of this process and of Ray's workers, by the name of their class."""

    def __init__(self) -> None:
        self._peaks: dict[str, int] = defaultdict(int)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> dict[str, int]:
        """Peaks in MB."""
        self._ended.set()
        self._thread.join()
        return {name: peak // 2**20 for name, peak in self._peaks.items()}

    def _look(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(LOOK_AGAIN_S):
            self._note("driver", me)
            for child in me.children(recursive=True):
                try:
                    name = child.cmdline()[0]
                except (psutil.Error, IndexError):
                    continue
                if name.startswith("ray::"):
                    self._note(name.removeprefix("ray::").partition(".")[0], child)

    def _note(self, name: str, process: psutil.Process) -> None:
        try:
            memory = process.memory_info()
        except psutil.Error:
            return
        self._peaks[name] = max(self._peaks[name], memory.rss - memory.shared)


def write_inputs(root: Path, latents: int, num_tokens: int, sample: int) -> Config:
    """Subject, SAE and corpus in a folder, and the config of the run."""
    root.mkdir(parents=True, exist_ok=True)
    write_subject(root / "subject")
    write_sae(root / "sae", latents)
    write_corpus(root / "corpus.parquet", num_tokens)
    return parse_config(
        {
            "run": {"name": "scale", "root": str(root / "runs")},
            "subject": {"model": str(root / "subject")},
            "sae": [{"id": "sae", "path": str(root / "sae")}],
            "corpus": {
                "path": str(root / "corpus.parquet"),
                "tokens_column": "token_ids",
                "num_tokens": num_tokens,
            },
            "sae_fit": {"warn_unexplained": 1e12, "most_unexplained": 1e12},
            "evidence": {
                "change_windows": 8,
                "change_window_tokens": 16,
                "jacobian_windows": 16,
                "agreement_windows": 16,
            },
            "select": {"rule": "sample", "num_latents": sample, "panel": 16, "sample": 8},
            "describe": {"methods": ["keywords", "max_act"]},
            "score": {"methods": ["keywords", "max_act"], "num_units": 4, "num_draws": 1},
            "steering": {"num_prompts": 4, "new_tokens": 8},
            "llm": {
                "backend": "scripted",
                "script": "ray_autointerp.llm.scripted:planted_script",
            },
            "operations": {"threads": 1, "micro_batch": 64},
        },
        root / "scale.toml",
    )


def write_subject(folder: Path) -> None:
    """Two random layers, and a tokenizer of as many words as the embedding has rows."""
    word_tokenizer(VOCABULARY).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=1.0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def write_sae(folder: Path, latents: int) -> None:
    """Random directions, of which each token has `ACTIVE` latents fire."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    encoder_DL = torch.nn.functional.normalize(
        torch.randn(WIDTH, latents, generator=generator), dim=0
    )
    save_file(
        {
            "W_enc": encoder_DL.contiguous(),
            "b_enc": torch.zeros(latents),
            "W_dec": encoder_DL.T.contiguous(),
            "b_dec": torch.zeros(WIDTH),
        },
        folder / "sae_weights.safetensors",
    )
    config = {
        "architecture": "topk",
        "k": ACTIVE,
        "d_in": WIDTH,
        "d_sae": latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": "random",
            "hook_name": HOOK_POINT,
            "context_size": 128,
            "prepend_bos": True,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config))


def write_corpus(path: Path, num_tokens: int) -> None:
    """Documents of random ids, written a million tokens at a time."""
    draw = np.random.default_rng(0)
    per_part = 1_000_000 // DOCUMENT
    schema = pa.schema([("token_ids", pa.list_(pa.int32()))])
    with pq.ParquetWriter(path, schema) as writer:
        # A little more than is read: windows' BOS tokens count, and the last documents are cut.
        for _ in range(-(-num_tokens // 1_000_000) + 1):
            ids = draw.integers(3, VOCABULARY, per_part * DOCUMENT, np.int32)
            offsets = np.arange(0, len(ids) + 1, DOCUMENT, np.int32)
            lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))
            writer.write_table(pa.table({"token_ids": lists}, schema=schema))


if __name__ == "__main__":
    main()
