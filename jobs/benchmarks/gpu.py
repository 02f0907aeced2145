"""The races at the shapes of Gemma-2-2B, in bfloat16 with random weights, on a GPU.

    .venv/bin/python jobs/benchmarks/gpu.py [--rounds 5] [--only modes]

After layer 12 of 26, a TopK SAE of 16,384 random latents. Speed does not depend on weights; what
the lists say means nothing. `measured` is the stage as a run calls it, next-token effects, lists
and standard errors included; `passes` is the clamped passes and their lists alone. The plain side
is that of token_change.py. Without a GPU it runs on the CPU, where only `--tiny` ends in seconds.
Prints JSON lines, then the profiles of the exact pass and of what surrounds it.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import token_change as plain
import torch
from race import Side, machine, race, report
from sae_lens import TopKSAE, TopKSAEConfig
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config
from word_tokenizer import word_tokenizer

from ray_autointerp.config import Config
from ray_autointerp.execution.execute import execute
from ray_autointerp.methods.control_variate import control_variate
from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.jacobian import jacobian_proj, linear_change, linear_window_sums
from ray_autointerp.methods.token_change import mean_logit_diff, token_change
from ray_autointerp.methods.token_lists import HubStats
from ray_autointerp.models.clamped_pass import clean_run, window_changes
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject
from ray_autointerp.models.subject_card import SubjectCard
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.change_modes import MEASURES
from ray_autointerp.plan.batch import micro_batch
from ray_autointerp.plan.shards import Axes, LatentRange
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.stages import token_change as token_change_stage

LENGTH = 128
"""Tokens of a corpus window; the clamped ones are the notebook's 32 windows of 32 tokens."""

EXAMPLES = 16
"""Of each latent, behind the mode `active`."""

SHARDS = 3
"""Token shards that a worker does one after the other."""

ID = "sae"


@dataclass(frozen=True)
class Shape:
    """Sizes of the subject and its dictionary."""

    d_model: int
    d_mlp: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    d_sae: int
    k: int
    layer: int
    product: int
    """Side of the plain matrix product."""
    tokens: int
    """Of a token shard: about as many as a run has by default."""


GEMMA_2_2B = Shape(2304, 9216, 26, 8, 4, 256, 256_000, 16_384, 64, 12, 8192, 1_048_576)
TINY = Shape(32, 64, 4, 2, 1, 16, 300, 128, 8, 1, 64, 8192)


class RandomTables(Tables):
    """Tables that lie in memory."""

    def __init__(self, run: Run, tokens: pa.Table) -> None:
        super().__init__(run)
        self.examples: dict[int, list[dict[str, int]]] = {}
        self.tokens = tokens

    def read(
        self,
        table: str,
        *_: Any,
        columns: Sequence[str] | None = None,
        having: tuple[str, Any] | None = None,
        **__: Any,
    ) -> Any:
        """The corpus."""
        assert table == "tokens", f"no {table} here"
        found = self.tokens
        if having is not None:
            found = found.filter(pc.is_in(found[having[0]], pa.array(having[1])))
        return found if columns is None else found.select(columns)

    def rows(self, table: str, *_: Any, **__: Any) -> Any:
        """Where latents fire."""
        assert table == "top_examples", f"no {table} here"
        return {
            latent: [{"split": "explain", "examples": examples}]
            for latent, examples in self.examples.items()
        }


class RandomContext(WorkerContext):
    """A context of such tables, whose models were never saved."""

    def __init__(self, run: Run, tables: RandomTables, subject: Subject, sae: Sae) -> None:
        super().__init__(run)
        self.tables = tables
        self._models.__dict__ |= {"subject": subject, "tokenizer": subject.tokenizer}
        self._sae = sae

    def sae(self, _: str) -> Sae:
        """The only one."""
        return self._sae


@dataclass
class Bench:
    """What all races are run with."""

    shape: Shape
    asked: argparse.Namespace
    tables: RandomTables
    context: RandomContext
    compiled: RandomContext
    """The same with the subject's layers compiled."""
    windows_WT: Tensor
    rate: float = 1.0
    """Operations a second of the plain matrix product."""

    @property
    def subject(self) -> Subject:
        """The language model."""
        return self.context.subject

    def race(self, **sides: Side) -> Any:
        """Interleaved, each side until the GPU is done."""
        return race({name: self.settled(side) for name, side in sides.items()}, self.asked.rounds)

    def settled(self, side: Side) -> Side:
        """A GPU is given work faster than it does it."""

        def once() -> None:
            side()
            if self.subject.device.type == "cuda":
                torch.cuda.synchronize()

        return once


def main() -> None:
    """All races, or one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(RACES), default=list(RACES))
    parser.add_argument("--latents", type=int, default=32, help="of one task")
    parser.add_argument("--directions", type=int, default=24, help="backward sweeps timed")
    parser.add_argument("--cv-windows", type=int, default=8, help="windows of a latent")
    parser.add_argument("--tiny", action="store_true", help="a toy, to see that it runs")
    asked = parser.parse_args()
    bench = build(TINY if asked.tiny else GEMMA_2_2B, asked)
    for name, run in RACES.items():
        if name in asked.only or name == "product":
            run(bench)


def build(shape: Shape, asked: argparse.Namespace) -> Bench:
    """The random subject, its dictionary, a corpus of random tokens and a run's config."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    subject = random_subject(shape, device)
    hook_point = f"blocks.{shape.layer}.hook_resid_post"
    memory = torch.cuda.get_device_properties(0).total_memory if device.type == "cuda" else 2**33
    size = micro_batch(
        memory,
        "bfloat16",
        shape.d_model,
        shape.num_layers,
        LENGTH,
        shape.d_sae,
        num_parameters=subject.card.num_parameters,
    )
    config = Config.model_validate(
        {
            "run": {"name": "random", "root": tempfile.mkdtemp()},
            "subject": {"model": "random", "dtype": "bfloat16"},
            "sae": [{"id": ID, "path": "random"}],
            "corpus": {"path": "random", "num_tokens": 10_000_000, "window": LENGTH},
            "evidence": {"change_estimator": "exact", "change_examples": EXAMPLES},
            "llm": {"model": "none"},
            "operations": {"micro_batch": size},
        }
    )
    axes = Axes(1, {ID: LatentRange(0, shape.d_sae)}, 4096, asked.latents, {ID: hook_point}, 1, 64)
    run = Run(config, axes, f"{config.run.root}/random")
    sae = random_sae(shape, hook_point, device)
    ids_WT = torch.randint(3, shape.vocab_size, (shape.tokens // LENGTH, LENGTH))
    tables = RandomTables(run, corpus(ids_WT))
    context = RandomContext(run, tables, subject, sae)
    again = random_subject(shape, device, compile_layers=True)
    compiled = RandomContext(run, tables, again, sae)
    report(
        machine=machine(),
        card=torch.cuda.get_device_name(0) if device.type == "cuda" else "none",
        micro_batch=size,
    )
    return Bench(shape, asked, tables, context, compiled, ids_WT[: plain.WINDOWS, : plain.TOKENS])


def random_subject(shape: Shape, device: torch.device, *, compile_layers: bool = False) -> Subject:
    """Gemma 2's modules, initialised as Transformers does; attention eager, for its cap."""
    config = Gemma2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
    )
    with device:
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="eager"
        )
    fast = word_tokenizer(shape.vocab_size)
    size = sum(parameter.numel() for parameter in model.parameters())
    card = SubjectCard(
        "random",
        "gemma2",
        shape.d_model,
        shape.num_layers,
        shape.vocab_size,
        context_length=8192,
        num_parameters=size,
        tokenizer_digest="",
        num_head_outputs=model.config.num_attention_heads * model.config.head_dim,
    )
    return Subject(model, SubjectTokenizer(fast), card, compile_layers=compile_layers)


def random_sae(shape: Shape, hook_point: str, device: torch.device) -> Sae:
    """A TopK SAE whose encoder is its decoder's transpose."""
    sizes = {"d_in": shape.d_model, "d_sae": shape.d_sae, "k": shape.k}
    sae = TopKSAE(TopKSAEConfig(**sizes, dtype="float32", device=str(device)))
    rows_LD = torch.randn(shape.d_sae, shape.d_model, device=device)
    rows_LD = torch.nn.functional.normalize(rows_LD, dim=-1)
    with torch.no_grad():
        sae.W_dec.copy_(rows_LD)
        sae.W_enc.copy_(rows_LD.T)
    return Sae(sae, hook_point, hook_point)


def corpus(ids_WT: Tensor) -> pa.Table:
    """As the step `corpus` leaves it, the halves taking turns."""
    schema = TABLES["tokens"].schema
    count = len(ids_WT)
    given: dict[str, Any] = {
        "window": list(range(count)),
        "split": ["explain" if i % 2 == 0 else "score" for i in range(count)],
        "token_ids": ids_WT.tolist(),
    }
    kinds = {field.name: field.type for field in schema}
    for name in kinds.keys() - given.keys():
        is_text = pa.types.is_string(kinds[name])
        given[name] = [str(i) if is_text else i for i in range(count)]
    return pa.table({name: given[name] for name in kinds}, schema=schema)


def product(bench: Bench) -> None:
    """The plain matrix product that rates are told against."""
    side, device = bench.shape.product, bench.subject.device
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))

    def ten() -> None:
        for _ in range(10):
            a @ b

    seconds = bench.race(product=ten)["product"]
    bench.rate = 10 * 2 * side**3 / seconds.median
    report(race=f"matrix product of {side}, bfloat16", tflops=bench.rate / 1e12)


def exact(bench: Bench) -> None:
    """TokenChange `all`, exact, on 32 windows of 32 tokens."""
    subject, context = bench.subject, bench.context
    latents = list(range(bench.asked.latents))
    sae, inner = context.sae(ID), context.sae(ID)._sae
    spliced = SimpleNamespace(
        hook_point=sae.hook_point,
        activations=sae.activations,
        decode=lambda acts_XL: inner.decode(acts_XL).bfloat16(),
    )
    notebook = plain.Notebook(subject, spliced, bench.windows_WT.to(subject.device))
    clean = clean_run(subject, sae, latents, bench.windows_WT)
    rows = max(1, context.run.config.operations.micro_batch // plain.WINDOWS)
    wide = 4 * rows
    flat_BTD = clean.h_WTD.repeat(rows, 1, 1)

    def layers_alone() -> None:
        for _ in range(0, 2 * len(latents), rows):
            subject.resume(flat_BTD, clean.site)

    times = bench.race(
        plain=lambda: notebook.one_latent(latents[0]),
        layers=layers_alone,
        passes=lambda: passes(context, clean, latents, rows),
        wide=lambda: passes(context, clean, latents, wide),
        compiled=lambda: passes(bench.compiled, clean, latents, rows),
        measured=lambda: measured(context, "all", values_of(latents)),
        compiled_measured=lambda: measured(bench.compiled, "all", values_of(latents)),
    )
    full, tail = plain.flops(subject, sae, clean.site)
    for name in ("layers", "passes", "wide", "compiled", "measured", "compiled_measured"):
        together = wide if name == "wide" else rows
        each = times[name].median / len(latents)
        ratio = times["plain"].median / each
        report(
            race=f"TokenChange all, exact: {name}",
            windows_together=together * plain.WINDOWS,
            plain=times["plain"],
            seconds=times[name],
            latents_per_second=1 / each,
            rate_over_matmul=tail / each / bench.rate,
            ratio=ratio,
            flop_ratio=full / tail,
            ratio_over_flop_ratio=ratio / (full / tail),
            hours_for_dictionary=each * bench.shape.d_sae / 3600,
        )


def values_of(latents: Sequence[int]) -> dict[tuple[int, int], float]:
    """Both signs of each latent."""
    return {(latent, sign): sign * plain.VALUE for latent in latents for sign in (1, -1)}


def passes(context: RandomContext, clean: Any, latents: Sequence[int], rows: int) -> None:
    """The clamped passes and the lists of all rows together."""
    both = [latent for latent in latents for _ in range(2)]
    values_B = torch.tensor([plain.VALUE, -plain.VALUE] * len(latents))
    done = window_changes(context.subject, context.sae(ID), clean, both, values_B, rows)
    mean_BD = done.sums_BWD.sum(1) / clean.num_positions
    token_change(mean_logit_diff(mean_BD, context.subject.W_U_DV), 20)


def measured(context: RandomContext, mode: str, values: Mapping[tuple[int, int], float]) -> None:
    """As the stage does it, but for writing the table."""
    ones_V = torch.ones(context.subject.card.vocab_size, device=context.subject.device)
    hub = HubStats(0 * ones_V, ones_V)
    dict(token_change_stage._columns(context, MEASURES[mode](context, ID, values), hub))


def modes(bench: Bench) -> None:
    """The three modes as the stage measures them."""
    context = bench.context
    latents = firing(bench)
    sides: dict[str, Side] = {
        mode: lambda mode=mode: measured(context, mode, values_of(latents))  # type: ignore[misc]
        for mode in ("all", "active", "last")
    }
    for mode, seconds in bench.race(**sides).items():
        report(
            race=f"TokenChange {mode}, both signs, as the stage does it",
            latents=len(latents),
            windows=EXAMPLES if mode == "active" else plain.WINDOWS,
            seconds=seconds,
            latents_per_second=len(latents) / seconds.median,
            halved=context.halvings,
        )


def firing(bench: Bench) -> list[int]:
    """The first latents that fire in enough windows, which become their examples."""
    context, wanted = bench.context, bench.asked.latents
    ids_WT = torch.tensor(bench.tables.tokens["token_ids"].to_pylist()[:512])
    sae = context.sae(ID)
    h_WTD = context.subject.residual(ids_WT, context.subject.site(sae.hook_point))
    mask_WT = torch.ones(ids_WT.shape, dtype=torch.bool, device=h_WTD.device)
    entries = sae.active_entries(h_WTD, mask_WT, slice(0, sae.d_sae))
    pairs_N2 = torch.stack([entries.latents_N, entries.rows_N], 1).unique(dim=0).cpu()
    windows_L = pairs_N2[:, 0].bincount(minlength=sae.d_sae)
    chosen: list[int] = (windows_L >= EXAMPLES).nonzero()[:wanted, 0].tolist()
    for latent in chosen:
        rows = pairs_N2[pairs_N2[:, 0] == latent][:EXAMPLES, 1].tolist()
        bench.tables.examples[latent] = [{"window": row} for row in rows]
    return chosen


def jacobian(bench: Bench) -> None:
    """What M costs, what applying it costs, JacobianProj and the control variate."""
    subject, sae, shape = bench.subject, bench.context.sae(ID), bench.shape
    ids_WT = torch.tensor(bench.tables.tokens["token_ids"].to_pylist())[:, : plain.TOKENS]
    latents = list(range(bench.asked.latents))
    clean = {n: clean_run(subject, sae, latents, ids_WT[:n]) for n in (plain.WINDOWS, 128)}
    directions = bench.asked.directions

    def sweeps(windows: int, count: int) -> Side:
        run = clean[windows]
        return lambda: window_jacobians(subject, run.h_WTD, run.mask_WT, run.site, range(count))

    mean_DD = torch.randn(shape.d_model, shape.d_model, device=subject.device) / 48
    hub = hub_stats(linear_change(sae.W_dec_LD, mean_DD), subject.W_U_DV)

    def applied() -> None:
        for rows_LD in torch.split(sae.W_dec_LD, 512):
            jacobian_proj(linear_change(rows_LD, mean_DD), subject.W_U_DV, 20, hub)

    few = clean[128].windows(0, bench.asked.cv_windows)
    singles_NDD = mean_DD.repeat(bench.asked.cv_windows, 1, 1)
    values_B = torch.tensor([plain.VALUE, -plain.VALUE] * len(latents), device=subject.device)
    both = [latent for latent in latents for _ in range(2)]
    size = bench.context.run.config.operations.micro_batch

    def corrected() -> None:
        rows = max(1, size // bench.asked.cv_windows)
        sums_BND = window_changes(subject, sae, few, both, values_B, rows).sums_BWD
        x_BD = sae.W_dec_LD[both].float() * values_B[:, None]
        linear_BND = linear_window_sums(x_BD, singles_NDD)
        mean_BD = control_variate(sums_BND, linear_BND, few.counts_W, linear_change(x_BD, mean_DD))
        token_change(mean_logit_diff(mean_BD, subject.W_U_DV), 20, hub)

    times = bench.race(
        one_32=sweeps(plain.WINDOWS, 1),
        sweeps_32=sweeps(plain.WINDOWS, directions),
        one_128=sweeps(128, 1),
        sweeps_128=sweeps(128, directions),
        applied=applied,
        hub=lambda: hub_stats(linear_change(sae.W_dec_LD, mean_DD), subject.W_U_DV),
        corrected=corrected,
    )
    whole = {}
    for windows in (plain.WINDOWS, 128):
        first = times[f"one_{windows}"].median
        sweep = (times[f"sweeps_{windows}"].median - first) / (directions - 1)
        whole[windows] = first + sweep * (shape.d_model - 1)
        total = whole[windows] + times["hub"].median + times["applied"].median
        report(
            race=f"JacobianProj from {windows} windows, {shape.d_sae} latents",
            seconds_per_sweep=sweep,
            seconds_of_M=whole[windows],
            seconds_of_hub_stats=times["hub"],
            seconds_of_lists=times["applied"],
            latents_per_second=shape.d_sae / total,
        )
    each = times["corrected"].median / len(latents)
    report(
        race=f"control variate, {bench.asked.cv_windows} windows a latent, {shape.d_sae} latents",
        seconds=times["corrected"],
        latents_per_second_without_M=1 / each,
        latents_per_second=shape.d_sae / (whole[128] + each * shape.d_sae),
    )


def watched(bench: Bench) -> None:
    """The MaxAct pass against the bare forward pass and encoder product."""
    context, subject, sae = bench.context, bench.subject, bench.context.sae(ID)
    site, size = subject.site(sae.hook_point), context.run.config.operations.micro_batch
    ids_WT = torch.tensor(bench.tables.tokens["token_ids"].to_pylist())
    number = iter(range(1_000_000))

    @torch.inference_mode()
    def bare() -> None:
        for batch_WT in torch.split(ids_WT, size):
            subject.residual(batch_WT, site).flatten(0, 1).to(sae.W_enc_DL.dtype) @ sae.W_enc_DL

    def ours() -> None:
        turn = Lock()
        with ThreadPoolExecutor(2) as threads:  # as a worker with a GPU does
            list(threads.map(lambda _: max_act_shard(context, next(number), turn), range(SHARDS)))

    times = bench.race(bare=bare, ours=ours)
    report(
        race="MaxAct pass against bare forward and encoder product",
        tokens_of_a_shard=ids_WT.numel(),
        shards=SHARDS,
        bare_of_one_shard=times["bare"],
        ours_of_all_shards=times["ours"],
        tokens_per_second=SHARDS * ids_WT.numel() / times["ours"].median,
        bare_tokens_per_second=ids_WT.numel() / times["bare"].median,
        ratio=SHARDS * times["bare"].median / times["ours"].median,
    )


def max_act_shard(context: RandomContext, number: int, turn: Any = None) -> None:
    """One token shard, tables written; each time another, for what is there is not written."""
    task = Task("max_act", None, None, number, 1_000_000)
    asyncio.run(execute(task, context, turn=turn))


def profile(bench: Bench) -> None:
    """Where the time of the exact pass goes, by kernel."""
    latents = list(range(bench.asked.latents))
    clean = clean_run(bench.subject, bench.context.sae(ID), latents, bench.windows_WT)
    rows = max(1, bench.context.run.config.operations.micro_batch // plain.WINDOWS)
    kernels("passes", bench.settled(lambda: passes(bench.context, clean, latents, rows)))
    kernels("max_act", bench.settled(lambda: max_act_shard(bench.context, 10**5)))
    kernels("measured", bench.settled(lambda: measured(bench.context, "all", values_of(latents))))


def kernels(name: str, side: Side) -> None:
    """Shares of the kinds of kernel, and the table of the largest."""
    side()
    with torch.profiler.profile() as seen:
        side()
    events = seen.key_averages()
    on_gpu = [event for event in events if event.self_device_time_total > 0]
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = [e for e in on_gpu if str(e.device_type).endswith("CUDA")] if on_gpu else list(events)
    total = sum(getattr(event, key) for event in events)
    shares: dict[str, float] = {}
    for event in events:
        kind = kind_of(event.key)
        shares[kind] = shares.get(kind, 0.0) + getattr(event, key) / total
    report(profile=name, milliseconds=total / 1000, **dict(sorted(shares.items())))
    events.sort(key=lambda event: -getattr(event, key))
    for event in events[:16]:
        milliseconds = getattr(event, key) / 1000
        print(
            f"{milliseconds:9.2f} ms {100 * milliseconds * 1000 / total:5.1f} % "
            f"{event.count:6d} x {event.key[:110]}"
        )


KINDS = {
    "matrix_product": ("gemm", "nvjet", "cutlass", "::mm", "::bmm", "::addmm", "gemv"),
    "reduction": ("reduce", "::sum", "::mean", "softmax"),
    "selection": ("topk", "sort", "radix", "gather", "index", "scan"),
    "copy": ("memcpy", "memset", "copy", "catarray"),
}
"""Kinds of kernel by parts of their names; all else is arithmetic number by number."""


def kind_of(kernel: str) -> str:
    """The first kind that its name shows."""
    name = kernel.lower()
    return next(
        (kind for kind, parts in KINDS.items() if any(part in name for part in parts)),
        "elementwise",
    )


RACES: dict[str, Callable[[Bench], None]] = {
    "product": product,
    "exact": exact,
    "modes": modes,
    "jacobian": jacobian,
    "max_act": watched,
    "profile": profile,
}

if __name__ == "__main__":
    main()
