"""top_examples: from token shards to latent shards, and from references to excerpts.

Merges the partial top examples of all token shards (exact, whatever the sharding), cuts an
excerpt around each peak, and merges firing statistics into one row per latent.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.firing_stats import FiringStats, latent_stats, merge_firing_stats
from ray_autointerp.methods.max_act import TopExamples, merge_examples
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.tables import Row

SPLITS = ("explain", "score")


def run(task: Task, desk: Desk) -> None:
    """Write one latent shard of `top_examples` and `latent_stats`."""
    assert task.sae is not None
    latents = desk.latents(task)
    _write_stats(task, desk, latents)
    refs = _merged_refs(task, desk, latents)
    windows = _windows(desk, refs.windows_E)
    rows: dict[tuple[int, str], list[Row]] = {
        (latent, split): [] for latent in latents for split in SPLITS
    }
    for index in range(len(refs.latents_E)):
        key = (int(refs.latents_E[index]), SPLITS[int(refs.is_score_E[index])])
        rows[key].append(_excerpt(refs, index, windows[int(refs.windows_E[index])], desk))
    desk.write(
        task,
        "top_examples",
        [
            {
                "latent": latent,
                "split": split,
                "status": "ok" if examples else "no_evidence",
                "examples": examples,
            }
            for (latent, split), examples in rows.items()
        ],
    )


def _merged_refs(task: Task, desk: Desk, latents: range) -> TopExamples:
    parts = []
    for shard in range(desk.run.axes.num_token_shards):
        refs = desk.read("example_refs", task.sae, shards=[shard])
        parts.append(_examples(refs.filter(_inside(latents))))
    return merge_examples(parts, desk.run.config.evidence.num_top_examples)


def _inside(latents: range) -> pc.Expression:
    latent = pc.field("latent")
    return (latent >= latents.start) & (latent < latents.stop)


def _examples(refs: pa.Table) -> TopExamples:
    refs = refs.combine_chunks()
    counts = pc.list_value_length(refs["positions"]).to_numpy()
    return TopExamples(
        latents_E=refs["latent"].to_numpy(),
        is_score_E=np.array(refs["split"].to_pylist(), object) == "score",
        windows_E=refs["window"].to_numpy(),
        peaks_E=refs["peak"].to_numpy(),
        activations_E=refs["activation"].to_numpy(),
        offsets_E1=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        positions_N=pc.list_flatten(refs["positions"]).to_numpy(),
        values_N=pc.list_flatten(refs["values"]).to_numpy(),
    )


def _windows(desk: Desk, wanted: np.ndarray[Any, Any]) -> dict[int, Row]:
    """The token rows of the windows that some example points at."""
    tokens = desk.read("tokens", None)
    rows = tokens.filter(pc.is_in(tokens["window"], value_set=pa.array(np.unique(wanted))))
    return {row["window"]: row for row in rows.to_pylist()}


def _excerpt(refs: TopExamples, index: int, window: Row, desk: Desk) -> Row:
    """At most `excerpt_tokens` tokens around the peak; BOS is never shown."""
    length = desk.run.config.evidence.excerpt_tokens
    token_ids: list[int] = window["token_ids"]
    first = 1 if token_ids[:1] == [desk.tokenizer.bos_id] else 0
    peak = int(refs.peaks_E[index])
    # Three quarters before the peak: what makes a latent fire mostly stands to its left.
    start = max(first, min(peak - (3 * length) // 4, len(token_ids) - length))
    stop = min(start + length, len(token_ids))
    where = slice(refs.offsets_E1[index], refs.offsets_E1[index + 1])
    activations = np.zeros(len(token_ids), np.float32)
    activations[refs.positions_N[where]] = refs.values_N[where]
    return {
        "window": window["window"],
        "document": window["document"],
        "document_id": window["document_id"],
        "peak": peak - start,
        "activation": float(refs.activations_E[index]),
        "token_ids": token_ids[start:stop],
        "texts": desk.tokenizer.texts(token_ids[start:stop]),
        "activations": activations[start:stop].tolist(),
    }


def _write_stats(task: Task, desk: Desk, latents: range) -> None:
    parts = []
    for shard in range(desk.run.axes.num_token_shards):
        stats = desk.read("firing_stats", task.sae, shards=[shard])
        parts.append(_firing_stats(stats.filter(_inside(latents)), len(latents)))
    merged = merge_firing_stats(parts)
    found = latent_stats(merged)
    desk.write(
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
                "is_dead": bool(found.is_dead_L[i]),
            }
            for i, latent in enumerate(latents)
        ],
    )


def _firing_stats(stats: pa.Table, num_latents: int) -> FiringStats:
    """Rows come as (latent, explain), (latent, score), latents rising: two columns each."""

    def grid(name: str) -> np.ndarray[Any, Any]:
        return stats[name].to_numpy().reshape(num_latents, len(SPLITS))

    return FiringStats(
        grid("num_tokens")[0], grid("num_active"), grid("sum_activation"), grid("max_activation")
    )


def _or_none(values: "np.ma.MaskedArray[Any, Any]", index: int) -> float | None:
    value = values[index]
    return None if value is np.ma.masked else float(value)
