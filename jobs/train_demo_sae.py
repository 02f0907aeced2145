"""Trains the demo's SAE: TopK (k = 32), 4,608 latents, SmolLM2 after layer 19, with SAELens.

    python jobs/make_demo_corpus.py WORK        # the training text, held apart from the demo's
    python jobs/train_demo_sae.py WORK          # about two hours on two CPU cores

Three parts, each skipped when its result is there: activations of about two million tokens are
cached once (the forward pass is the cost), several epochs are trained over them, and the final
SAE and an earlier checkpoint are folded back to raw activations, stored in half precision in
SAELens' format, measured as stored on held-out text, and put under jobs/demo with a card.

Windows are BOS and 127 tokens; BOS and attention sinks (norm over ten medians) are left out.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from demo.subject import CACHE
from sae_lens import SAE, SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

NAME = "SmolLM2-135M-Instruct"
LAYER, K, D_IN, D_SAE = 19, 32, 576, 4608
CONTEXT = 128
TOKENS_PER_KIND = {"address": 1_000_000, "novel": 900_000, "documentation": 800_000}
SINK_NORM = 2200.0
"""Ten times the median norm at this layer (222); other positions stay below 350."""
BATCH, EPOCHS, LEARNING_RATE = 2048, 4, 7e-4
EARLIER_SHARE = 0.4
"""Where in training the earlier checkpoint is taken."""
DEMO = Path(__file__).parent / "demo"


@dataclass(frozen=True)
class Measured:
    """What a stored SAE does on held-out text."""

    num_tokens: int
    num_sinks: int
    fvu: float
    """Fraction of variance unexplained."""
    dead_share: float
    l0: float
    density_quantiles: list[float]
    """Of latents, at 10, 50, 90 and 99 %."""


def main() -> None:
    """Cache, train, ship."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    work: Path = arguments.work
    subject = Subject()
    if not (work / "cached.json").exists():
        cache_activations(subject, work)
    if not (work / "final.safetensors").exists():
        train(work, arguments.epochs)
    held_out = held_out_activations(subject)
    made = json.loads((work / "cached.json").read_text()) | json.loads(
        (work / "trained.json").read_text()
    )
    measured = {}
    for name, weights in (("sae", "final"), ("sae_earlier", "earlier")):
        ship(load_file(work / f"{weights}.safetensors"), DEMO / name)
        measured[name] = measure(DEMO / name, held_out)
        print(name, measured[name])
    (DEMO / "sae" / "CARD.md").write_text(card(made, measured))


class Subject:
    """The lower layers of the demo's subject."""

    def __init__(self) -> None:
        path = CACHE / NAME
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self._model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32).model
        self._model.layers = self._model.layers[: LAYER + 1]
        self._model.norm = torch.nn.Identity()

    def windows(self, text: str) -> list[list[int]]:
        """BOS and 127 tokens each; what is left over is dropped."""
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        size = CONTEXT - 1
        bos = self.tokenizer.bos_token_id
        return [[bos, *ids[i : i + size]] for i in range(0, len(ids) - size + 1, size)]

    @torch.inference_mode()
    def residual(self, windows: Tensor) -> Tensor:
        """Residual stream after the layer, BOS left out, one row per token."""
        return self._model(windows).last_hidden_state[:, 1:].reshape(-1, D_IN)


def cache_activations(subject: Subject, work: Path) -> None:
    """Write activations.f16, rows in the order of shuffled windows."""
    documents = [json.loads(line) for line in (work / "training.jsonl").open()]
    random.Random(0).shuffle(documents)
    used = dict.fromkeys(TOKENS_PER_KIND, 0)
    windows: list[list[int]] = []
    for document in documents:
        kind = document["kind"]
        if used[kind] < TOKENS_PER_KIND[kind]:
            found = subject.windows(document["text"])
            windows += found
            used[kind] += len(found) * (CONTEXT - 1)
    random.Random(1).shuffle(windows)
    num_rows, num_sinks = 0, 0
    with (work / "activations.f16").open("wb") as file:
        for start in range(0, len(windows), 16):
            rows = subject.residual(torch.tensor(windows[start : start + 16]))
            kept = rows[rows.norm(dim=-1) < SINK_NORM]
            num_rows, num_sinks = num_rows + len(kept), num_sinks + len(rows) - len(kept)
            file.write(kept.half().numpy().tobytes())
            if start % 1600 == 0:
                print(f"cached {num_rows:,} tokens, {num_sinks} sinks left out", flush=True)
    told = {"num_tokens": num_rows, "num_sinks": num_sinks}
    (work / "cached.json").write_text(json.dumps(told))


def train(work: Path, epochs: int) -> None:
    """Train on activations scaled to norm sqrt(d_in), and keep the weights of two moments."""
    num_rows = json.loads((work / "cached.json").read_text())["num_tokens"]
    rows = np.memmap(work / "activations.f16", np.float16, "r", shape=(num_rows, D_IN))
    sample = torch.from_numpy(rows[:200_000].astype(np.float32))
    scale = D_IN**0.5 / float(sample.norm(dim=-1).mean())
    steps = epochs * num_rows // BATCH
    torch.manual_seed(0)
    config = TopKTrainingSAEConfig(
        d_in=D_IN, d_sae=D_SAE, k=K, dtype="float32", device="cpu", normalize_activations="none"
    )
    sae = TopKTrainingSAE(config)
    with torch.no_grad():
        sae.b_dec.copy_(sample.mean(0) * scale)
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=steps * BATCH,
            train_batch_size_samples=BATCH,
            lr=LEARNING_RATE,
            lr_end=LEARNING_RATE / 100,
            lr_warm_up_steps=200,
            lr_decay_steps=int(0.6 * steps),
            device="cpu",
            dead_feature_window=500,
        ),
        sae=sae,
        data_provider=batches(rows, scale, int(EARLIER_SHARE * steps), sae, work),
    )
    started = time.monotonic()
    trainer.fit()
    save_file(folded(sae, scale), work / "final.safetensors")
    told = {"steps": steps, "epochs": epochs, "minutes": (time.monotonic() - started) / 60}
    (work / "trained.json").write_text(json.dumps(told))


def batches(
    rows: Any, scale: float, earlier_step: int, sae: TopKTrainingSAE, work: Path
) -> Iterator[Tensor]:
    """Shuffled batches, epoch after epoch; at one step the weights so far are kept."""
    shuffle, step = np.random.default_rng(0), 0
    while True:
        order = shuffle.permutation(len(rows))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            if step == earlier_step:
                save_file(folded(sae, scale), work / "earlier.safetensors")
            batch = np.sort(order[start : start + BATCH])
            x = torch.from_numpy(rows[batch].astype(np.float32)) * scale
            if step % 100 == 0:
                with torch.no_grad():
                    left = (x - sae.decode(sae.encode(x))).pow(2).sum()
                    fvu = left / (x - x.mean(0)).pow(2).sum()
                print(f"step {step}: fraction of variance unexplained {fvu:.4f}", flush=True)
            step += 1
            yield x


def folded(sae: TopKTrainingSAE, scale: float) -> dict[str, Tensor]:
    """Weights for raw activations: unit decoder rows, activations in units of the residual."""
    with torch.no_grad():
        norms = sae.W_dec.norm(dim=-1)
        return {
            "W_enc": (sae.W_enc * norms).contiguous().clone(),
            "b_enc": sae.b_enc * norms / scale,
            "W_dec": (sae.W_dec / norms[:, None]).contiguous(),
            "b_dec": sae.b_dec / scale,
        }


def ship(weights: dict[str, Tensor], folder: Path) -> None:
    """Half precision in SAELens' inference format."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: w.half().contiguous() for k, w in weights.items()}, folder / "sae_weights.safetensors"
    )
    config = {
        "architecture": "topk",
        "d_in": D_IN,
        "d_sae": D_SAE,
        "k": K,
        "dtype": "float16",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": {
            "model_name": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "hook_name": f"blocks.{LAYER}.hook_resid_post",
            "hf_hook_name": f"model.layers.{LAYER}",
            "context_size": CONTEXT,
            "prepend_bos": True,
            "exclude_special_tokens": True,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=1))


def held_out_activations(subject: Subject, num_windows: int = 800) -> Tensor:
    """Activations of the demo's corpus, which training never saw."""
    texts = pq.read_table(DEMO / "corpus.parquet")["text"].to_pylist()
    windows = [window for text in texts for window in subject.windows(str(text))][:num_windows]
    chunks = torch.tensor(windows).split(16)
    return torch.cat([subject.residual(chunk) for chunk in chunks])


@torch.inference_mode()
def measure(folder: Path, rows: Tensor) -> Measured:
    """The SAE as stored, loaded as anyone would."""
    sae = SAE.load_from_disk(str(folder), device="cpu", dtype="float32")
    kept = rows[rows.norm(dim=-1) < SINK_NORM]
    left, fired = 0.0, torch.zeros(D_SAE)
    for x in kept.split(4096):
        acts = sae.encode(x)
        left += float((x - sae.decode(acts)).pow(2).sum(dtype=torch.float64))
        fired += (acts > 0).sum(0)
    variance = float((kept - kept.mean(0)).pow(2).sum(dtype=torch.float64))
    density = fired / len(kept)
    return Measured(
        num_tokens=len(kept),
        num_sinks=len(rows) - len(kept),
        fvu=left / variance,
        dead_share=float((fired == 0).float().mean()),
        l0=float(fired.sum() / len(kept)),
        density_quantiles=density.quantile(torch.tensor([0.1, 0.5, 0.9, 0.99])).tolist(),
    )


def card(made: dict[str, Any], measured: dict[str, Measured]) -> str:
    """The card that lies beside the SAE."""
    rows = "\n".join(
        f"| `{name}` | {m.fvu:.3f} | {100 * m.dead_share:.1f} % | {m.l0:.1f} | "
        + " / ".join(f"{100 * q:.2f}" for q in m.density_quantiles)
        + " % |"
        for name, m in measured.items()
    )
    first = measured["sae"]
    return f"""# The demo's SAE

TopK (k = {K}), {D_SAE:,} latents, on `blocks.{LAYER}.hook_resid_post` of SmolLM2-135M-Instruct
(of 30 layers, d_model {D_IN}), in SAELens' format, half precision. Decoder rows have unit norm;
activations are in units of the residual stream. Made by `jobs/train_demo_sae.py` with SAELens:
{made["num_tokens"]:,} tokens of public-domain English (`jobs/make_demo_corpus.py`), windows of
BOS and {CONTEXT - 1} tokens, {made["epochs"]} epochs, {made["steps"]:,} steps of batch {BATCH:,},
Adam, learning rate {LEARNING_RATE} with warm-up and linear decay, seed 0,
{made["minutes"]:.0f} minutes of training on 2 CPU cores beside other work.
BOS and {made["num_sinks"]:,} attention sinks (norm over {SINK_NORM:.0f}, ten medians) were left
out.

Measured as stored, on {first.num_tokens:,} tokens of the demo's corpus, none of it in the training
text ({first.num_sinks} sinks left out):

| folder | variance unexplained | dead | active a token | density at 10 / 50 / 90 / 99 % |
| --- | --- | --- | --- | --- |
{rows}

`sae_earlier` is the same run at {100 * EARLIER_SHARE:.0f} % of its steps.
"""


if __name__ == "__main__":
    main()
