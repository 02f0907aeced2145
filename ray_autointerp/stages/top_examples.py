"""top_examples: from token shards to latent shards, and from references to excerpts.

Merges the partial top examples of all token shards (exact, whatever the sharding), cuts an
excerpt around each peak, and merges firing statistics into one row per latent.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
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
from ray_autointerp.methods.offsets import offsets_of
from ray_autointerp.methods.top_examples import (
    TopExamples,
    empty_examples,
    merge_examples,
    take_examples,
)
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.example_tables import examples_of_table, firing_stats_of_table
from ray_autointerp.passes.excerpts import Excerpts, Peaks, excerpts, silent_peaks
from ray_autointerp.passes.token_windows import token_windows
from ray_autointerp.passes.window_sample import WindowSample
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext

_ROW_GROUP = 64
"""Rows of one row group: who needs the examples of a few latents reads little more."""

_FOLLOWING_TOKENS = 20
"""Tokens after the peaks kept per latent and side."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `top_examples` and `latent_stats`."""
    assert task.sae is not None
    latents, tokenizer = context.tables.latents(task), context.tokenizer
    _write_stats(task, context, latents)
    length = context.run.config.evidence.excerpt_tokens
    top, stratified = _merged(task, context)
    windows = token_windows(context.tables, np.concatenate([top.windows_E, stratified.windows_E]))
    shown = excerpts(windows, _peaks(top), length, tokenizer)
    offsets = _offsets(top, latents)
    columns = {
        "latent": pa.array(np.repeat(np.arange(latents.start, latents.stop), 2), pa.int32()),
        "split": list(SPLITS) * len(latents),
        "status": np.where(np.diff(offsets) > 0, "ok", "no_evidence").tolist(),
        "examples": shown.lists(offsets),
        "stratified": excerpts(windows, _peaks(stratified), length, tokenizer).lists(
            _offsets(stratified, latents)
        ),
        "near_misses": _near_misses(task, context, shown, offsets),
        "following": _following(shown, offsets, tokenizer),
    }
    content = pa.table(columns, schema=TABLES["top_examples"].schema)
    rows = 2 * len(latents)
    groups = [min(_ROW_GROUP, rows - start) for start in range(0, rows, _ROW_GROUP)]
    context.write(task, "top_examples", content, row_groups=groups)


def _merged(task: Task, context: WorkerContext) -> tuple[TopExamples, TopExamples]:
    """This shard's strongest and stratified examples, merged one token shard after another."""
    evidence = context.run.config.evidence
    rankings: dict[str, Ranking] = {
        "top": Strongest(),
        "stratified": Stratified(context.run.config.run.seed),
    }
    num_kept = {
        "top": evidence.num_top_examples,
        "stratified": -(-evidence.num_stratified // BINS_IN_USE),
    }
    merged = dict.fromkeys(rankings, empty_examples())
    for shard in range(context.run.axes.num_token_shards):
        refs = context.tables.read("example_refs", task.sae, shards=[shard], row_group=task.shard)
        for kind, ranking in rankings.items():
            part = examples_of_table(refs.filter(pc.field("kind") == kind))
            merged[kind] = merge_examples([merged[kind], part], num_kept[kind], ranking)
    return merged["top"], _evenly(merged["stratified"], evidence.num_stratified)


def _evenly(examples: TopExamples, num_kept: int) -> TopExamples:
    """Of each latent and side so many, one of every strength before a second of any."""
    groups = Stratified(0).groups(examples.latents_E, examples.is_score_E, examples.activations_E)
    turn = np.arange(len(groups)) - np.searchsorted(groups, groups)
    side = groups // NUM_BINS
    order = np.lexsort((-groups, turn, side))
    place = np.arange(len(side)) - np.searchsorted(side[order], side[order])
    return take_examples(examples, order[place < num_kept])


def _peaks(examples: TopExamples) -> Peaks:
    return Peaks(
        examples.windows_E,
        examples.peaks_E,
        examples.activations_E,
        examples.offsets_E1,
        examples.positions_N,
        examples.values_N,
    )


def _offsets(examples: TopExamples, latents: range) -> npt.NDArray[np.int64]:
    """Where the examples of each latent and side begin, in the table's order; and their number."""
    row_E = (examples.latents_E.astype(np.int64) - latents.start) * 2 + examples.is_score_E
    return np.searchsorted(row_E, np.arange(2 * len(latents) + 1))


def _near_misses(
    task: Task, context: WorkerContext, shown: Excerpts, offsets: npt.NDArray[np.int64]
) -> "pa.Array[Any]":
    """A list of excerpts for each latent and side, around tokens on which it is silent."""
    assert task.sae is not None
    latents, evidence = context.tables.latents(task), context.run.config.evidence
    sample = WindowSample(context.tables, task.sae, latents)
    tokens, activations = shown.peak_tokens_E().tolist(), shown.activations_E.tolist()
    found = []
    counts = []
    for row, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        latent, side = latents[row // 2], SPLITS[row % 2]
        peaks = zip(tokens[start:stop], activations[start:stop], strict=True)
        misses = sample.near_misses(latent, side, peaks, evidence.num_near_misses)
        found += misses
        counts.append(len(misses))
    silent = silent_peaks([miss.window for miss in found], [miss.position for miss in found])
    shown = excerpts(sample.windows, silent, evidence.excerpt_tokens, context.tokenizer)
    return shown.lists(offsets_of(np.array(counts)))


def _following(
    shown: Excerpts, offsets: npt.NDArray[np.int64], tokenizer: SubjectTokenizer
) -> list[list[dict[str, Any]]]:
    """For each latent and side, the tokens after the peaks, commonest first."""
    lists = []
    next_E = shown.next_tokens_E()
    for start, stop in zip(offsets[:-1], offsets[1:], strict=True):
        own_E = next_E[start:stop]
        found = following_tokens(own_E[own_E >= 0].tolist(), _FOLLOWING_TOKENS)
        texts = tokenizer.texts([token for token, _ in found])
        lists.append(
            [
                {"token": token, "text": text, "count": count}
                for (token, count), text in zip(found, texts, strict=True)
            ]
        )
    return lists


def _write_stats(task: Task, context: WorkerContext, latents: range) -> None:
    wanted = ("latent", np.arange(latents.start, latents.stop))
    parts = []
    for shard in range(context.run.axes.num_token_shards):
        stats = context.tables.read("firing_stats", task.sae, shards=[shard], having=wanted)
        parts.append(firing_stats_of_table(stats, len(latents)))
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
