"""Labels that are carried over from the parent run, put in the place of a shard's own.

A carried label comes with the outcome of the run that it was made in: its method, its name, and the
scores that an LLM or steered text gave it. What is measured of every latent is this run's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.plan.flow import FLOW
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.tables import Row, Tables

_OUTCOME = frozenset(
    (
        *("label", "method", "runner_up", "margin", "status"),
        *(name for name in TABLES["labels"].schema.names if name.startswith(("name", "origin_"))),
        *(name for s in FLOW if s.split == "selection" for name, _ in s.label_columns),
    )
)
"""Columns of `labels` that are the origin's."""


class CarriedLabels:
    """Those of some latents, in their order."""

    def __init__(self, tables: Tables, sae: str, latents: Sequence[int]) -> None:
        self._schema = TABLES["labels"].schema
        kept = sorted(tables.carried(sae) & set(latents))
        rows = self._schema.empty_table()
        if kept:
            rows = tables.of_latents("carried_labels", sae, kept)
        place = pc.index_in(pa.array(latents, pa.int32()), rows["latent"].combine_chunks())
        self._rows = rows.take(place)
        self._is_carried: Any = pc.is_valid(place)

    def columns(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """All columns of `labels`; those that are not among the shard's own are null without it."""
        return {
            field.name: self._column(field, own.get(field.name, pa.scalar(None, field.type)))
            for field in self._schema
        }

    def choices(self, own: Sequence[Row]) -> list[Row]:
        """Rows of `choices`: of a carried label, how it was chosen where it was made."""
        names = ("method", "runner_up", "margin")
        chosen = self._rows.select(names).to_pylist()
        return [
            {"latent": row["latent"], "status": "ok", **carried} if is_carried else row
            for row, carried, is_carried in zip(
                own, chosen, self._is_carried.to_pylist(), strict=True
            )
        ]

    def _column(self, field: "pa.Field[Any]", own: Any) -> Any:
        if field.name not in _OUTCOME:
            return own
        if isinstance(own, list):
            own = pa.array(own, field.type)
        return pc.if_else(self._is_carried, self._rows[field.name], own)
