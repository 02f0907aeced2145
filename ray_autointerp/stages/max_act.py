"""max_act: one streaming pass over a token shard for every SAE of the subject.

The subject runs once, to the deepest hook point; each SAE's top examples and firing statistics
are gathered as windows go by. BOS, other special tokens and attention sinks are left out, and
how many sinks there were is kept in the files' metadata.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ray_autointerp.methods.max_act import ExampleSieve, TopExamples, active_entries
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.hook_point import Place
from ray_autointerp.models.sae import Sae
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.tables import Row

SPLITS = ("explain", "score")


@dataclass
class _Watch:
    """One SAE during the pass."""

    sae: Sae
    site: int
    place: Place
    latents: slice
    sieve: ExampleSieve
    num_sinks: int = 0


def run(task: Task, desk: Desk) -> None:
    """Write one token shard of `example_refs` and `firing_stats` of every SAE."""
    watches = {sae: _watch(sae, desk) for sae in desk.run.saes}
    places = [place for watch in watches.values() for place in (watch.site, watch.place)]
    for windows in _batches(task, desk):
        tokens_WT, lengths_W = _padded(windows, desk)
        is_token_WT = torch.arange(tokens_WT.shape[1]) < lengths_W[:, None]
        residuals = desk.subject.residuals(tokens_WT, places)
        for watch in watches.values():
            _look(watch, desk, windows, tokens_WT, is_token_WT, residuals)
    for sae, watch in watches.items():
        first = watch.latents.start
        metadata = {"num_sinks": str(watch.num_sinks)}
        refs = _refs(watch.sieve.examples(), first)
        desk.write(task, "example_refs", refs, sae=sae, metadata=metadata)
        desk.write(task, "firing_stats", _stats(watch.sieve, first), sae=sae, metadata=metadata)


def _watch(sae_id: str, desk: Desk) -> _Watch:
    sae, latents = desk.sae(sae_id), desk.run.axes.latents[sae_id]
    return _Watch(
        sae,
        desk.subject.site(sae.hook_point),
        desk.subject.place(sae.read_point),
        slice(latents.start, latents.stop),
        ExampleSieve(len(latents), desk.run.config.evidence.num_top_examples),
    )


def _batches(task: Task, desk: Desk) -> Iterator[list[Row]]:
    """The shard's windows, longest first so that little is padded, `micro_batch` at a time."""
    rows = desk.read("tokens", None, shards=[task.shard]).to_pylist()
    rows.sort(key=lambda row: (-len(row["token_ids"]), row["window"]))
    size = desk.run.config.operations.micro_batch
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _padded(windows: list[Row], desk: Desk) -> tuple[Tensor, Tensor]:
    """Token ids, padded on the right (under causal attention a pad changes nothing before it)."""
    lengths = [len(row["token_ids"]) for row in windows]
    pad = desk.tokenizer.eos_id or 0
    padded = [row["token_ids"] + [pad] * (max(lengths) - len(row["token_ids"])) for row in windows]
    return torch.tensor(padded), torch.tensor(lengths)


def _look(
    watch: _Watch,
    desk: Desk,
    windows: list[Row],
    tokens_WT: Tensor,
    is_token_WT: Tensor,
    residuals: dict[Place, Tensor],
) -> None:
    h_WTD = residuals[watch.site]
    is_token_WT = is_token_WT.to(h_WTD.device)
    mask_WT = position_mask(desk.subject, tokens_WT, h_WTD, watch.site) & is_token_WT
    is_sink_WT = h_WTD.float().norm(dim=-1) > desk.subject.sink_threshold(watch.site)
    watch.num_sinks += int((is_sink_WT & is_token_WT).sum())
    acts_WTL = watch.sae.activations(residuals[watch.place])[..., watch.latents]
    watch.sieve.add(
        torch.tensor([row["window"] for row in windows]),
        torch.tensor([row["split"] == "score" for row in windows]),
        mask_WT.sum(-1).cpu(),
        active_entries(acts_WTL, mask_WT),
    )


def _refs(examples: TopExamples, first_latent: int) -> pa.Table:
    group = examples.latents_E.astype(np.int64) * 2 + examples.is_score_E
    is_start = np.append(True, group[1:] != group[:-1])[: len(group)]
    starts = np.flatnonzero(is_start)
    ranks = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    offsets = pa.array(examples.offsets_E1, pa.int32())
    return pa.table(
        {
            "latent": pa.array(examples.latents_E + first_latent, pa.int32()),
            "split": np.where(examples.is_score_E, "score", "explain").astype(object),
            "rank": pa.array(ranks, pa.int16()),
            "window": examples.windows_E,
            "peak": examples.peaks_E,
            "activation": examples.activations_E,
            "positions": pa.ListArray.from_arrays(offsets, pa.array(examples.positions_N)),
            "values": pa.ListArray.from_arrays(offsets, pa.array(examples.values_N)),
        },
        schema=TABLES["example_refs"].schema,
    )


def _stats(sieve: ExampleSieve, first_latent: int) -> pa.Table:
    stats = sieve.firing_stats()
    num_latents = len(stats.num_active_LS)
    return pa.table(
        {
            "latent": pa.array(np.repeat(np.arange(num_latents) + first_latent, 2), pa.int32()),
            "split": list(SPLITS) * num_latents,
            "num_tokens": np.tile(stats.num_tokens_S, num_latents),
            "num_active": stats.num_active_LS.reshape(-1),
            "sum_activation": stats.sum_activation_LS.reshape(-1),
            "max_activation": stats.max_activation_LS.reshape(-1),
        },
        schema=TABLES["firing_stats"].schema,
    )
