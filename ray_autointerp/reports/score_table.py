"""Every score of every description, in one long table: value, interval, chance and floor.

Read from whatever parts the run has; nothing is summed up.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.chance import CHANCE
from ray_autointerp.plan.controls import is_control, shuffled
from ray_autointerp.plan.reads import producer_of
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.reports.description_scores import input_interval
from ray_autointerp.reports.run_scores import KEYWORD_F1, MEASURES, Measure
from ray_autointerp.runs.tables import Tables

_COLUMNS: Mapping[str, pa.DataType] = {
    **{"sae": pa.string(), "latent": pa.int32()},
    **dict.fromkeys(("method", "score", "status"), pa.string()),
    **dict.fromkeys(("value", "low", "high", "chance", "floor"), pa.float64()),
}
SCHEMA = pa.schema(_COLUMNS)
"""`low` and `high`: the 95 % interval. `chance`: what a description that says nothing gets, where
that is a number. `floor`: what another latent's description gets at this latent, where the run has
tried that (`select.controls`). Without a `value`, `status` says why."""

Column: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"

_CHANCE = dict.fromkeys(("auroc", "near_miss_auroc", "win_rate", "word_overlap_win_rate"), CHANCE)
_CHANCE["three_set_success"] = 1 / 3
"""By column of the scores' tables."""


def score_table(tables: Tables, sae: str) -> pa.Table:
    """The scores of an SAE by latent, method and score."""
    parts = [SCHEMA.empty_table(), *_of_descriptions(tables, sae), _of_keywords(tables, sae)]
    whole = pa.concat_tables(parts)
    order = ("latent", "method", "score")
    return whole.sort_by([(name, "ascending") for name in order])


def _of_descriptions(tables: Tables, sae: str) -> Iterator[pa.Table]:
    for name in dict.fromkeys(measure.table for measure in MEASURES):
        measures = [measure for measure in MEASURES if measure.table == name]
        variants = methods_of(producer_of(name, None), tables.run.config)
        for method in filter(None, variants):
            if is_control(method):
                continue
            rows = tables.read_finished(name, sae, method)
            floors = None
            if shuffled(method) in variants:
                floors = tables.read_finished(name, sae, shuffled(method))
            for measure in measures:
                yield _rows(sae, method, measure, rows, floors)


def _of_keywords(tables: Tables, sae: str) -> pa.Table:
    rows = tables.read_finished(KEYWORD_F1.table, sae)
    floors = rows.select(["latent"]).append_column(KEYWORD_F1.column, rows["f1_shuffled"])
    return _rows(sae, "keywords", KEYWORD_F1, rows, floors)


def _rows(
    sae: str, method: str, measure: Measure, rows: pa.Table, floors: pa.Table | None
) -> pa.Table:
    """One measure of one method; a latent of which it was not asked has no row."""
    rows = rows.filter(
        pc.or_(rows[measure.column].is_valid(), pc.not_equal(rows["status"], pa.scalar("ok")))
    )
    low, high = _interval(measure, rows)
    columns: dict[str, Any] = {
        "sae": pa.repeat(pa.scalar(sae), rows.num_rows),
        "latent": rows["latent"],
        "method": pa.repeat(pa.scalar(method), rows.num_rows),
        "score": pa.repeat(pa.scalar(measure.name), rows.num_rows),
        "status": rows["status"],
        "value": rows[measure.column],
        "low": low,
        "high": high,
        "chance": pa.repeat(pa.scalar(_CHANCE.get(measure.column), pa.float64()), rows.num_rows),
        "floor": _at(rows["latent"], floors, measure.column),
    }
    made = [_flat(columns[field.name], field.type) for field in SCHEMA]
    return pa.Table.from_arrays(made, schema=SCHEMA)


def _interval(measure: Measure, rows: pa.Table) -> tuple[Column, Column]:
    """The columns of its ends; the input AUROC's are reckoned once for each value that differs."""
    if f"{measure.column}_low" in TABLES[measure.table].schema.names:
        return rows[f"{measure.column}_low"], rows[f"{measure.column}_high"]
    nothing = pa.nulls(rows.num_rows, pa.float64())
    if measure.name != "input_auroc":
        return nothing, nothing
    names = (measure.column, "num_activating", "num_neutral")
    values = list(zip(*(rows[name].to_pylist() for name in names), strict=True))
    known = {value: input_interval(*value) for value in set(values)}
    low, high = (pa.array([known[value][end] for value in values], pa.float64()) for end in (0, 1))
    return low, high


def _at(latents: Column, floors: pa.Table | None, column: str) -> Column:
    """The column's values at these latents; null where there is none."""
    if floors is None or not floors.num_rows:
        return pa.nulls(len(latents), pa.float64())
    known = {latent: place for place, latent in enumerate(floors["latent"].to_pylist())}
    places = pa.array([known.get(latent) for latent in latents.to_pylist()], pa.int64())
    return floors[column].take(places)


def _flat(column: Column, kind: pa.DataType) -> Column:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole.cast(kind)
