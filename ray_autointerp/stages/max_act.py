"""max_act: one streaming pass over a token shard for every SAE of the subject.

The subject runs once, to the deepest hook point; each SAE's top examples and firing statistics
are gathered as windows go by. BOS, other special tokens and attention sinks are left out, and
how many sinks there were is kept in the files' metadata. Of a seeded sample of windows every
non-zero is kept.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_autointerp.config import Config
from ray_autointerp.methods.device_sieve import DeviceSieve
from ray_autointerp.methods.example_rank import BINS_IN_USE, window_hashes
from ray_autointerp.methods.firing_stats import FiringStats
from ray_autointerp.methods.max_act import ActiveEntries, ExampleSieve
from ray_autointerp.methods.top_examples import TopExamples
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.hook_point import Place, Site
from ray_autointerp.models.sae import Sae
from ray_autointerp.passes.example_tables import (
    example_refs_table,
    firing_stats_table,
    window_sample_table,
)
from ray_autointerp.passes.padded_windows import padded_windows
from ray_autointerp.passes.process_memory import return_freed_memory
from ray_autointerp.plan.shards import Axes
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


@dataclass
class _Watch:
    """One SAE during the pass."""

    sae: Sae
    site: Site
    place: Place
    latents: slice
    sieve: ExampleSieve | DeviceSieve
    sample: list[Row]
    num_sinks: int = 0


def run(task: Task, context: WorkerContext) -> None:
    """Write one token shard of `example_refs` and `firing_stats` of every SAE."""
    watches = {sae: _watch(sae, context) for sae in context.run.saes}
    places = [place for watch in watches.values() for place in (watch.site, watch.place)]
    # Longest first, so that little is padded.
    windows = context.tables.read("tokens", None, shards=[task.shard]).to_pylist()
    windows.sort(key=lambda row: (-len(row["token_ids"]), row["window"]))

    def look(rows: slice) -> None:
        tokens_WT, is_token_WT = padded_windows(windows[rows], context)
        residuals = context.subject.residuals(tokens_WT, places)
        # All that can run out of memory first: what is then taken in must be taken in once.
        seen = [
            _seen(watch, context, tokens_WT, is_token_WT, residuals) for watch in watches.values()
        ]
        for watch, found in zip(watches.values(), seen, strict=True):
            _take_in(watch, context, windows[rows], found)

    context.subject.halving.run(len(windows), context.run.config.operations.micro_batch, look)
    for sae, watch in watches.items():
        found = (watch.sieve.stratified(), watch.sieve.examples(), watch.sieve.firing_stats())
        # To make tables takes a processor as long as a GPU takes for some of the next pass.
        context.afterwards(partial(_write, watch, *found, sae, task, context))
    context.afterwards(return_freed_memory)


def _write(
    watch: _Watch,
    stratified: TopExamples,
    top: TopExamples,
    firing_stats: FiringStats,
    sae: str,
    task: Task,
    context: WorkerContext,
) -> None:
    first = watch.latents.start
    refs = example_refs_table(stratified, top, first)
    stats = firing_stats_table(firing_stats, first)
    groups, stats_groups = (
        _row_groups(table["latent"].to_numpy(), context.run.axes, sae) for table in (refs, stats)
    )
    write = partial(context.write, task, sae=sae, metadata={"num_sinks": str(watch.num_sinks)})
    # Together: a processor is long busy with each of the first two, a remote store keeps waiting.
    with ThreadPoolExecutor() as pool:
        written = [
            pool.submit(write, "example_refs", refs, row_groups=groups),
            pool.submit(write, "window_sample", window_sample_table(watch.sample)),
            pool.submit(write, "firing_stats", stats, row_groups=stats_groups),
        ]
    for one in written:
        one.result()


def _watch(sae_id: str, context: WorkerContext) -> _Watch:
    sae, latents = context.sae(sae_id), context.run.axes.latents[sae_id]
    evidence = context.run.config.evidence
    # On a GPU what is found is sorted where it is; on a processor numpy is quicker than PyTorch.
    device = context.subject.device
    kind = ExampleSieve if device.type == "cpu" else partial(DeviceSieve, device=device)
    return _Watch(
        sae,
        context.subject.site(sae.hook_point),
        context.subject.place(sae.read_point),
        slice(latents.start, latents.stop),
        kind(
            len(latents),
            evidence.num_top_examples,
            num_per_bin=-(-evidence.num_stratified // BINS_IN_USE),
            seed=context.run.config.run.seed,
        ),
        [],
    )


@dataclass(frozen=True)
class _Seen:
    """Activations of one SAE on a batch of windows."""

    num_tokens_W: Tensor
    entries: ActiveEntries
    num_sinks: Tensor


def _seen(
    watch: _Watch,
    context: WorkerContext,
    tokens_WT: Tensor,
    is_token_WT: Tensor,
    residuals: dict[Place, Tensor],
) -> _Seen:
    h_WTD = residuals[watch.site]
    is_token_WT = is_token_WT.to(h_WTD.device)
    mask_WT = position_mask(context.subject, tokens_WT, h_WTD, watch.site) & is_token_WT
    is_sink_WT = context.subject.is_sink(h_WTD, watch.site)
    entries = watch.sae.active_entries(residuals[watch.place], mask_WT, watch.latents)
    return _Seen(mask_WT.sum(-1), entries, (is_sink_WT & is_token_WT).sum())


def _take_in(watch: _Watch, context: WorkerContext, windows: list[Row], seen: _Seen) -> None:
    watch.num_sinks += int(seen.num_sinks)
    window_ids = [row["window"] for row in windows]
    watch.sieve.add(
        torch.tensor(window_ids),
        torch.tensor([row["split"] == "score" for row in windows]),
        seen.num_tokens_W,
        seen.entries,
    )
    hashes = window_hashes(np.array(window_ids), context.run.config.run.seed)
    for index in np.flatnonzero(hashes < sample_threshold(context.run.config)).tolist():
        watch.sample.append(_sampled(windows[index], index, seen.entries, watch.latents.start))


def sample_threshold(config: Config) -> np.uint64:
    """Windows whose hash lies below are in the sample: about `sample_windows` of each side.

    The number of windows is taken from the config, so that every shard draws alike.
    """
    corpus = config.corpus
    per_side = corpus.num_tokens / (corpus.window or 1) / len(SPLITS)
    share = min(1.0, config.evidence.sample_windows / per_side)
    return np.uint64(min(int(share * 2**64), 2**64 - 1))


def _sampled(window: Row, index: int, entries: ActiveEntries, first_latent: int) -> Row:
    """Every non-zero of one window, as narrow as the table: a shard's sample waits in memory."""
    start, stop = torch.searchsorted(
        entries.rows_N.contiguous(), torch.tensor([index, index + 1], device=entries.rows_N.device)
    ).tolist()
    latents_N = entries.latents_N[start:stop] + first_latent
    return {
        "window": window["window"],
        "split": window["split"],
        "token_ids": window["token_ids"],
        "latents": latents_N.to(torch.int32).cpu().numpy(),
        "positions": entries.positions_N[start:stop].to(torch.int16).cpu().numpy(),
        "values": entries.values_N[start:stop].cpu().numpy(),
    }


def _row_groups(latents_E: np.ndarray[Any, Any], axes: Axes, sae: str) -> list[int]:
    """Rows per latent shard: each shard's are read alone."""
    shard_E = (latents_E - axes.latents[sae].start) // axes.latents_per_shard
    counts: list[int] = np.bincount(shard_E, minlength=axes.num_latent_shards(sae)).tolist()
    return counts
