"""The rows of `revivals` of dead latents, those of every source together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow.compute as pc

from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.runs.tables import Row, Tables


def revivals(tables: Tables, sae: str, latents: Sequence[int]) -> dict[int, dict[str, Row]]:
    """Of each dead one of these chosen latents, by source, the rows of those that had a text."""
    found: dict[int, dict[str, Row]] = {}
    for source in methods_of(step_named("revive"), tables.run.config):
        assert source is not None
        rows = tables.of_latents("revivals", sae, latents, source)
        for row in rows.filter(pc.field("status") == "ok").to_pylist():  # nearly all are alive
            found.setdefault(row["latent"], {})[source] = row
    return found


class Strongest(NamedTuple):
    """The source whose text fires a latent most, and its row."""

    source: str
    row: Row


def strongest(by_source: Mapping[str, Row]) -> Strongest | None:
    """The first of equals; None where no source had a text."""
    found = (Strongest(source, row) for source, row in by_source.items())
    return max(found, key=lambda one: one.row["activation"], default=None)
