"""Arrow tables of what MaxAct finds: examples, firing statistics, sampled windows.

Columns are made from numpy arrays and read back into them, without a Python object per number.
"""

# E examples, L latents, S sides (0 explain, 1 score)

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.firing_stats import FiringStats
from ray_autointerp.methods.offsets import offsets_of
from ray_autointerp.methods.radix_order import radix_order
from ray_autointerp.methods.top_examples import TopExamples, join_examples, ranks, take_examples
from ray_autointerp.passes.list_offsets import list_offsets
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.tables import Row


def example_refs_table(stratified: TopExamples, top: TopExamples, first_latent: int) -> pa.Table:
    """`example_refs`: both kinds of example, in the table's order.

    Latents are counted from `first_latent`. The order is made here, which is faster than in Arrow.
    """
    examples = join_examples([stratified, top])
    is_top_E = np.repeat([False, True], [len(stratified.latents_E), len(top.latents_E)])
    group_E = (examples.latents_E * np.int64(2) + is_top_E) * 2 + examples.is_score_E
    order = radix_order(group_E)
    examples = take_examples(examples, order)
    offsets = pa.array(examples.offsets_E1, pa.int32())
    return pa.table(
        {
            "latent": pa.array(examples.latents_E + first_latent, pa.int32()),
            "kind": _words(is_top_E.take(order), ("stratified", "top")),
            "split": _words(examples.is_score_E, SPLITS),
            "rank": pa.array(ranks(group_E.take(order)), pa.int16()),
            "window": examples.windows_E,
            "peak": examples.peaks_E,
            "activation": examples.activations_E,
            "positions": pa.ListArray.from_arrays(offsets, pa.array(examples.positions_N)),
            "values": pa.ListArray.from_arrays(offsets, pa.array(examples.values_N)),
        },
        schema=TABLES["example_refs"].schema,
    )


def examples_of_table(refs: pa.Table) -> TopExamples:
    """The examples of rows of `example_refs`."""
    refs = refs.combine_chunks()
    return TopExamples(
        latents_E=refs["latent"].to_numpy(),
        is_score_E=np.array(refs["split"].to_pylist(), object) == "score",
        windows_E=refs["window"].to_numpy(),
        peaks_E=refs["peak"].to_numpy(),
        activations_E=refs["activation"].to_numpy(),
        offsets_E1=list_offsets(refs["positions"]),
        positions_N=pc.list_flatten(refs["positions"]).to_numpy(),
        values_N=pc.list_flatten(refs["values"]).to_numpy(),
    )


def firing_stats_table(stats: FiringStats, first_latent: int) -> pa.Table:
    """`firing_stats`, one row per latent and side; latents are counted from `first_latent`."""
    num_latents = len(stats.num_active_LS)
    return pa.table(
        {
            "latent": pa.array(np.repeat(np.arange(num_latents) + first_latent, 2), pa.int32()),
            "split": list(SPLITS) * num_latents,
            "num_tokens": np.tile(stats.num_tokens_S, num_latents),
            "num_active": stats.num_active_LS.reshape(-1),
            "sum_activation": stats.sum_activation_LS.reshape(-1),
            "max_activation": stats.max_activation_LS.reshape(-1),
            "histogram": list(stats.histogram_LSB.reshape(2 * num_latents, -1)),
        },
        schema=TABLES["firing_stats"].schema,
    )


def firing_stats_of_table(stats: pa.Table, num_latents: int) -> FiringStats:
    """The statistics of rows of `firing_stats`: for each latent, explain before score."""

    def grid(name: str) -> np.ndarray[Any, Any]:
        return stats[name].to_numpy().reshape(num_latents, len(SPLITS))

    return FiringStats(
        grid("num_tokens")[0],
        grid("num_active"),
        grid("sum_activation"),
        grid("max_activation"),
        pc.list_flatten(stats["histogram"]).to_numpy().reshape(num_latents, len(SPLITS), -1),
    )


def window_sample_table(rows: list[Row]) -> pa.Table:
    """`window_sample`, from rows whose lists are numpy arrays."""
    schema = TABLES["window_sample"].schema
    columns: dict[str, Any] = {field.name: [row[field.name] for row in rows] for field in schema}
    for field in schema:
        if pa.types.is_list(field.type):
            columns[field.name] = _lists(columns[field.name], field.type.value_type)
    return pa.table(columns, schema=schema)


def _words(is_second_E: np.ndarray[Any, Any], words: tuple[str, str]) -> "pa.Array[Any]":
    """A column of two different words, without a Python object for each row."""
    codes = pa.array(is_second_E.astype(np.int8))
    return pa.DictionaryArray.from_arrays(codes, pa.array(words)).cast(pa.string())


def _lists(parts: list[Any], kind: pa.DataType) -> "pa.Array[Any]":
    """A list for each part, joined by numpy: Arrow would go number by number."""
    offsets = offsets_of(np.array([len(part) for part in parts], np.int64))
    flat = np.concatenate([np.zeros(0, np.int16), *parts])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat, kind))
