"""The rows that a person browses: one per latent, as far as the run has come.

A published label is a row of `labels`. Where a latent has none yet, its row holds what there is:
statistics, scores without an LLM, and the keywords.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.records.layout import labels_file, table_folder
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.names import MissingObject
from ray_autointerp.storage.parquet import read_table

SCHEMA = TABLES["labels"].schema

_DRAFTS: Mapping[tuple[str, str | None], Mapping[str, str]] = {
    ("latent_stats", None): {
        "is_dead": "is_dead",
        "density": "density",
        "max_activation": "max_activation",
    },
    ("descriptions", "keywords"): {"label": "description", "status": "status"},
    ("free_scores", None): {
        "s_in": "s_in",
        "s_out": "s_out",
        "effect_kl": "effect_kl",
        "delta_confidence": "delta_confidence",
        "single_token_share": "single_token_share",
    },
    ("keyword_scores", None): {"keyword_f1": "f1", "keyword_f1_shuffled": "f1_shuffled"},
}
"""By table and method: the column of `labels`, and where it is taken from."""


def is_published(tables: Tables, sae: str) -> bool:
    """Whether the one file of labels is there: nothing changes any more."""
    return tables.store.exists(labels_file(sae))


def objects_read(tables: Tables, sae: str) -> frozenset[str]:
    """The names of the objects from which rows are made: more of them make other rows."""
    folders = [table_folder("labels", sae, None), table_folder("selection", sae, None)]
    folders += [table_folder(table, sae, method) for table, method in _DRAFTS]
    return frozenset(name for folder in folders for name in tables.store.list(f"{folder}/"))


def label_rows(tables: Tables, sae: str) -> pa.Table:
    """A row for each latent, with the columns of `labels` and whether it is `published`."""
    if is_published(tables, sae):
        table = read_table(tables.store, labels_file(sae), schema=SCHEMA)
        return table.append_column("published", pa.array([True] * table.num_rows, pa.bool_()))
    chosen = _chosen(tables, sae)
    axes = tables.run.axes
    whole = axes.latents[sae]
    count = -(-(whole.stop - whole.start) // axes.latents_per_shard)
    return pa.concat_tables([_shard(tables, sae, shard, chosen) for shard in range(count)])


def _shard(tables: Tables, sae: str, shard: int, chosen: frozenset[int] | None) -> pa.Table:
    try:
        table = tables.read("labels", sae, shards=[shard])
        return table.append_column("published", pa.array([True] * table.num_rows, pa.bool_()))
    except MissingObject:
        pass
    latents = list(tables.run.axes.latent_shard(sae, shard))
    columns: dict[str, pa.Array[Any]] = {"latent": pa.array(latents, pa.int32())}
    for (table_name, method), wanted in _DRAFTS.items():
        try:
            table = tables.read(
                table_name, sae, method, shards=[shard], columns=["latent", *wanted.values()]
            )
        except MissingObject:
            continue
        for name, source in wanted.items():
            columns[name] = table[source].combine_chunks().cast(SCHEMA.field(name).type)
    if "label" in columns:
        methods = pa.array(["keywords"] * len(latents))
        columns["method"] = pc.if_else(columns["label"].is_valid(), methods, None)
    if chosen is not None:
        columns["chosen"] = pa.array([latent in chosen for latent in latents])
    made = [columns.get(field.name, pa.nulls(len(latents), field.type)) for field in SCHEMA]
    drafted = pa.array([False] * len(latents), pa.bool_())
    return pa.Table.from_arrays(made, schema=SCHEMA).append_column("published", drafted)


def _chosen(tables: Tables, sae: str) -> frozenset[int] | None:
    """The chosen latents; None before any is chosen."""
    try:
        return frozenset(tables.selection(sae))
    except MissingObject:
        return None
