"""A rough SAE on a small public subject, and a config to judge it by.

    .venv/bin/python jobs/demo/subject.py gemma-3-270m
    .venv/bin/python jobs/benchmarks/rough_sae.py gemma-3-270m WORK    # ten minutes on two cores
    .venv/bin/python jobs/benchmarks/agreement.py WORK/gemma-3-270m.toml --root WORK \
        --jacobian-windows 32 --agreement-windows 128 --sample 24

TopK (k = 32), 2,048 latents, after about two thirds of the layers, trained for a few minutes on the
demo's corpus: good enough to have latents of real sizes and directions, for nothing else.
Activations are centred (one coordinate of Gemma's residual stream carries nearly all of its norm)
and scaled.
"""

import argparse
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from sae_lens import TopKSAE, TopKSAEConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor

from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.subject import Subject

LAYERS = {"gemma-3-270m": 11, "Qwen2.5-Coder-0.5B-Instruct": 15}
"""The SAE reads the residual stream after this one."""
K, WIDTH, WINDOW = 32, 2048, 128
STEPS, BATCH, LEARNING_RATE = 1500, 1024, 1e-3
CORPUS = Path(__file__).parents[1] / "demo" / "corpus.parquet"
MODELS = Path("~/.cache/ray_autointerp").expanduser()

CONFIG = """
[run]
name = "{name}"

[subject]
model = "{model}"

[[sae]]
id = "{name}-l{layer}"
path = "{sae}"

[corpus]
path = "{corpus}"
id_column = "document_id"
num_tokens = 60_000
tokens_per_shard = 30_000

[evidence]
num_top_examples = 20

[llm]
backend = "scripted"
script = "ray_autointerp.llm.scripted:ScriptedLLM"

[operations]
micro_batch = 32
"""


def main() -> None:
    """Collect, train, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=LAYERS)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tokens", type=int, default=60_000)
    asked = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    subject = Subject.load(str(MODELS / asked.name))
    rows_ND = collect(subject, hook_name(asked.name), asked.tokens)
    print(f"{len(rows_ND):,} tokens collected", flush=True)
    write(train(rows_ND), asked.name, asked.work)


def hook_name(name: str) -> str:
    """Where the SAE reads."""
    return f"blocks.{LAYERS[name]}.hook_resid_post"


def collect(subject: Subject, hook_point: str, num_tokens: int) -> Tensor:
    """Residual stream at the hook point, BOS and sinks left out."""
    site = subject.site(hook_point)
    bos, step = subject.tokenizer.bos_id, WINDOW - 1
    found: list[Tensor] = []
    windows: list[list[int]] = []
    for text in pq.read_table(CORPUS)["text"].to_pylist():
        ids = subject.tokenizer.encode(text)
        windows += [[bos, *ids[i : i + step]] for i in range(0, len(ids) - step + 1, step)]
    order = torch.randperm(len(windows))[: num_tokens // WINDOW].tolist()
    for start in range(0, len(order), 16):
        ids_WT = torch.tensor([windows[i] for i in order[start : start + 16]])
        h_WTD = subject.residual(ids_WT, site)
        found.append(h_WTD[position_mask(subject, ids_WT, h_WTD, site)])
    return torch.cat(found).clone()


def train(rows_ND: Tensor) -> dict[str, Tensor]:
    """Weights for raw activations: unit decoder rows, activations in units of the residual."""
    centre_D = rows_ND.mean(0)
    scale = rows_ND.shape[1] ** 0.5 / float((rows_ND - centre_D).norm(dim=-1).mean())
    decoder_LD = torch.nn.functional.normalize(torch.randn(WIDTH, rows_ND.shape[1]), dim=-1)
    parameters: dict[str, Any] = {
        "W_enc": decoder_LD.T.clone().requires_grad_(),
        "b_enc": torch.zeros(WIDTH, requires_grad=True),
        "W_dec": decoder_LD.clone().requires_grad_(),
    }
    adam = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE)
    for step in range(STEPS):
        x_BD = (rows_ND[torch.randint(len(rows_ND), (BATCH,))] - centre_D) * scale
        before_BL = x_BD @ parameters["W_enc"] + parameters["b_enc"]
        top = before_BL.topk(K, dim=-1)
        acts_BL = torch.zeros_like(before_BL).scatter(-1, top.indices, top.values.relu())
        left = (x_BD - acts_BL @ parameters["W_dec"]).pow(2).sum() / x_BD.pow(2).sum()
        adam.zero_grad()
        left.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if step % 250 == 0 or step == STEPS - 1:
            print(f"step {step}: fraction of variance unexplained {float(left):.3f}", flush=True)
    with torch.no_grad():
        norms_L = parameters["W_dec"].norm(dim=-1)
        return {
            "W_enc": (parameters["W_enc"] * norms_L).contiguous(),
            "b_enc": parameters["b_enc"] * norms_L / scale,
            "W_dec": (parameters["W_dec"] / norms_L[:, None]).contiguous(),
            "b_dec": centre_D,
        }


def write(weights: dict[str, Tensor], name: str, work: Path) -> None:
    """In SAELens' format, with the config beside it."""
    folder = work / "sae"
    metadata = SAEMetadata(
        model_name=name, hook_name=hook_name(name), context_size=WINDOW, prepend_bos=True
    )
    sae = TopKSAE(TopKSAEConfig(len(weights["b_dec"]), WIDTH, k=K, metadata=metadata))
    sae.load_state_dict(weights)
    sae.save_model(folder)
    written = CONFIG.format(
        name=name, layer=LAYERS[name], model=MODELS / name, sae=folder.resolve(), corpus=CORPUS
    )
    (work / f"{name}.toml").write_text(written.lstrip())


if __name__ == "__main__":
    main()
