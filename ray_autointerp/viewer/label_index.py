"""The labels of one SAE in an in-memory DuckDB table: filtered, sorted, searched and counted there.

Made at the first request, and again when the run has grown. Names of columns come from measures.py
alone; whatever a person gives is a bound parameter.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.intervals import mann_whitney_interval
from ray_autointerp.runs.tables import Tables
from ray_autointerp.viewer.label_rows import SCHEMA, is_published, label_rows, objects_read
from ray_autointerp.viewer.measures import MEASURES, SCORES

_LOOK_AGAIN_S = 2.0
"""How long a growing run's objects are not listed again."""

_SEARCHES_KEPT = 64


def _side(side: str, end: str) -> str:
    return ", ".join(f"{score.name}_{end}" for score in SCORES if score.side == side)


_DERIVED = f"""
create table labels as
with bounds as (
  select source.* exclude (promotes, suppresses),
    input_bounds.low as input_auroc_low, input_bounds.high as input_auroc_high,
    lower(concat_ws(chr(10), label, name, array_to_string(fires_on, ' '),
      array_to_string(promotes, ' '), array_to_string(suppresses, ' '))) as searched
  from source left join input_bounds on source.input_auroc = input_bounds.auroc
), sides as (
  select *, list_avg([{_side("inputs", "low")}]) as input_support,
    list_avg([{_side("outputs", "low")}]) as output_support,
    coalesce(list_max([{_side("inputs", "low")}]) > 0.5, false) as input_shown,
    coalesce(list_max([{_side("outputs", "low")}]) > 0.5, false) as output_shown
  from bounds
)
select *, list_avg([input_support, output_support]) as support,
  case when input_shown and output_shown then 'inputs and outputs'
    when input_shown then 'inputs' when output_shown then 'outputs'
    when input_support is null and output_support is null then 'not scored'
    else 'neither' end as shown_on,
  input_shown::int + output_shown::int as num_shown
from sides order by latent
"""

_COUNTS = """
select count(*) as latents, count(*) filter (where published) as published,
  count(*) filter (where shown_on != 'not scored') as scored,
  count(*) filter (where input_shown) as inputs, count(*) filter (where output_shown) as outputs
from labels
"""


class LabelIndex:
    """One SAE's labels. Queries may come from several threads."""

    def __init__(self, tables: Tables, sae: str) -> None:
        self.tables, self.sae = tables, sae
        self.is_published = is_published(tables, sae)
        self._objects = objects_read(tables, sae)
        self._looked = time.monotonic()
        self._rows = rows = label_rows(tables, sae)
        self._searches: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()
        self._connection = duckdb.connect(":memory:", config={"threads": 2})
        self._connection.register("source", rows)
        self._connection.register("input_bounds", self._input_bounds(rows))
        self._connection.execute(_DERIVED)
        self._connection.unregister("source")
        self._connection.unregister("input_bounds")
        counted = ", ".join(f"count({measure.name})" for measure in MEASURES)
        held = self.rows(f"select {counted} from labels")[0]
        self.measures = tuple(
            measure for measure, number in zip(MEASURES, held.values(), strict=True) if number
        )
        """Those that any latent has."""
        (whole,) = self.rows(_COUNTS)
        self.num_latents: int = whole["latents"]
        self.num_published: int = whole["published"]
        self.num_scored: int = whole["scored"]
        self.num_on_inputs: int = whole["inputs"]
        self.num_on_outputs: int = whole["outputs"]

    def is_stale(self) -> bool:
        """Whether the run has grown since; of a run whose labels are whole nothing is listed."""
        if self.is_published or time.monotonic() - self._looked < _LOOK_AGAIN_S:
            return False
        self._looked = time.monotonic()
        grown = objects_read(self.tables, self.sae) != self._objects
        return grown or is_published(self.tables, self.sae)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The result as dictionaries."""
        found: list[dict[str, Any]] = self.table(sql, parameters).to_pylist()
        return found

    def table(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The result as Arrow."""
        found = self._connection.cursor().sql(sql, params=list(parameters))
        table: pa.Table = found.to_arrow_table()
        return table

    def searched(self, words: Sequence[str]) -> str:
        """The name of a table of the latents that have all words; those of a few last searches are
        kept.
        """
        key = tuple(words)
        with self._lock:
            if key not in self._searches:
                self._number += 1
                name = f"search_{self._number}"
                has = " and ".join(["contains(searched, ?)"] * len(key))
                self._connection.cursor().execute(
                    f"create table {name} as select latent from labels where {has}", list(key)
                )
                self._searches[key] = name
                if len(self._searches) > _SEARCHES_KEPT:
                    _, oldest = self._searches.popitem(last=False)
                    self._connection.cursor().execute(f"drop table {oldest}")
            self._searches.move_to_end(key)
            return self._searches[key]

    def label_table(self, where: str, parameters: Sequence[Any], order: str) -> pa.Table:
        """Rows as `labels` has them: no column more."""
        found = self.table(f"select latent from labels where {where} {order}", parameters)
        first = self.tables.run.axes.latents[self.sae].start
        return self._rows.select(SCHEMA.names).take(pc.subtract(found["latent"], first))

    def _input_bounds(self, rows: pa.Table) -> pa.Table:
        """The interval of each input AUROC, over as many sentences as the run asks for."""
        score = self.tables.run.config.score
        number = score.num_sentences * score.num_draws
        areas = [area for area in rows["input_auroc"].unique().to_pylist() if area is not None]
        ends = [mann_whitney_interval(area, number, number) for area in areas]
        return pa.table(
            {
                "auroc": pa.array(areas, pa.float32()),
                "low": pa.array([end.low for end in ends], pa.float64()),
                "high": pa.array([end.high for end in ends], pa.float64()),
            }
        )
