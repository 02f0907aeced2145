"""top_examples: from token shards to latent shards, and from references to excerpts.

Merges the partial top examples of all token shards (exact, whatever the sharding), cuts an
excerpt around each peak, and merges firing statistics into one row per latent.
"""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.example_rank import (
    BINS_IN_USE,
    NUM_BINS,
    Ranking,
    Stratified,
    Strongest,
)
from ray_autointerp.methods.firing_stats import latent_stats, merge_firing_stats
from ray_autointerp.methods.near_miss import following_tokens
from ray_autointerp.methods.top_examples import (
    TopExamples,
    empty_examples,
    merge_examples,
    take_examples,
)
from ray_autointerp.passes.example_tables import examples_of_table, firing_stats_of_table
from ray_autointerp.passes.window_sample import WindowSample, excerpt
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_FOLLOWING_TOKENS = 20
"""Tokens after the peaks kept per latent and side."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `top_examples` and `latent_stats`."""
    assert task.sae is not None
    latents = context.latents(task)
    _write_stats(task, context, latents)
    evidence = context.run.config.evidence
    top = _merged(task, context, "top", evidence.num_top_examples, Strongest())
    stratified = _merged(
        task,
        context,
        "stratified",
        -(-evidence.num_stratified // BINS_IN_USE),
        Stratified(context.run.config.run.seed),
    )
    windows = _windows(context, np.concatenate([top.windows_E, stratified.windows_E]))
    examples = {
        "examples": _by_latent(top, windows, context),
        "stratified": _by_latent(_evenly(stratified, evidence.num_stratified), windows, context),
    }
    samples = {split: WindowSample(context, task.sae, split, latents) for split in SPLITS}
    rows = []
    for latent in latents:
        for split in SPLITS:
            found = {name: lists.get((latent, split), []) for name, lists in examples.items()}
            rows.append(
                {
                    "latent": latent,
                    "split": split,
                    "status": "ok" if found["examples"] else "no_evidence",
                    **found,
                    "near_misses": samples[split].near_misses(latent, found["examples"]),
                    "following": _following(found["examples"], context),
                }
            )
    context.write(task, "top_examples", rows)


def _merged(
    task: Task, context: WorkerContext, kind: str, num_kept: int, ranking: Ranking
) -> TopExamples:
    """This shard's examples of one kind, merged over the token shards."""
    parts = []
    for shard in range(context.run.axes.num_token_shards):
        refs = context.read("example_refs", task.sae, shards=[shard], row_group=task.shard)
        parts.append(examples_of_table(refs.filter(pc.field("kind") == kind)))
    return merge_examples(parts, num_kept, ranking) if num_kept else empty_examples()


def _evenly(examples: TopExamples, num_kept: int) -> TopExamples:
    """Of each latent and side so many, one of every strength before a second of any."""
    groups = Stratified(0).groups(examples.latents_E, examples.is_score_E, examples.activations_E)
    turn = np.arange(len(groups)) - np.searchsorted(groups, groups)
    side = groups // NUM_BINS
    order = np.lexsort((-groups, turn, side))
    place = np.arange(len(side)) - np.searchsorted(side[order], side[order])
    return take_examples(examples, order[place < num_kept])


def _inside(latents: range) -> pc.Expression:
    latent = pc.field("latent")
    return (latent >= latents.start) & (latent < latents.stop)


def _windows(context: WorkerContext, wanted: np.ndarray[Any, Any]) -> dict[int, Row]:
    """The token rows of the windows that some example points at."""
    tokens = context.read("tokens", None)
    rows = tokens.filter(pc.is_in(tokens["window"], value_set=pa.array(np.unique(wanted))))
    return {row["window"]: row for row in rows.to_pylist()}


def _by_latent(
    examples: TopExamples, windows: dict[int, Row], context: WorkerContext
) -> dict[tuple[int, str], list[Row]]:
    """Excerpts by latent and side, in the examples' order."""
    rows: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for index in range(len(examples.latents_E)):
        where = slice(examples.offsets_E1[index], examples.offsets_E1[index + 1])
        rows[int(examples.latents_E[index]), SPLITS[int(examples.is_score_E[index])]].append(
            excerpt(
                windows[int(examples.windows_E[index])],
                int(examples.peaks_E[index]),
                float(examples.activations_E[index]),
                (examples.positions_N[where], examples.values_N[where]),
                context,
            )
        )
    return rows


def _following(examples: list[Row], context: WorkerContext) -> list[Row]:
    """The tokens after the peaks, commonest first."""
    found = following_tokens([(e["token_ids"], e["peak"]) for e in examples], _FOLLOWING_TOKENS)
    texts = context.tokenizer.texts([token for token, _ in found])
    return [
        {"token": token, "text": text, "count": count}
        for (token, count), text in zip(found, texts, strict=True)
    ]


def _write_stats(task: Task, context: WorkerContext, latents: range) -> None:
    parts = []
    for shard in range(context.run.axes.num_token_shards):
        stats = context.read("firing_stats", task.sae, shards=[shard])
        parts.append(firing_stats_of_table(stats.filter(_inside(latents)), len(latents)))
    merged = merge_firing_stats(parts)
    found = latent_stats(merged)
    context.write(
        task,
        "latent_stats",
        [
            {
                "latent": latent,
                "status": "ok",
                "num_tokens": int(merged.num_tokens_S.sum()),
                "num_active_explain": int(found.num_active_explain_L[i]),
                "num_active_score": int(found.num_active_score_L[i]),
                "density": float(found.density_L[i]),
                "mean_activation": _or_none(found.mean_activation_L, i),
                "max_activation": _or_none(found.max_activation_L, i),
                "max_activation_score": _or_none(found.max_activation_score_L, i),
                "histogram": merged.histogram_LSB[i].sum(0),
                "is_dead": bool(found.is_dead_L[i]),
            }
            for i, latent in enumerate(latents)
        ],
    )


def _or_none(values: "np.ma.MaskedArray[Any, Any]", index: int) -> float | None:
    value = values[index]
    return None if value is np.ma.masked else float(value)
