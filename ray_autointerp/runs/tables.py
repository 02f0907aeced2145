"""The tables of one run: rows of latents are asked for by latent, whole parts are written.

Where the parts lie, and which of them hold the latents asked for, is decided here and nowhere
else. Knows no model: reports and the driver read runs through it too.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.plan.controls import is_control
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.identity import Node, nodes
from ray_autointerp.plan.reads import producer_of
from ray_autointerp.plan.schedule import part_count
from ray_autointerp.plan.shards import Selected
from ray_autointerp.records.layout import part_name, table_folder
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.finite import fail_rows_not_finite
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.parquet import (
    empty_table,
    read_metadata,
    read_tables,
    rises,
    write_table,
)
from ray_autointerp.storage.store import Store, open_store

Row = dict[str, Any]
T = TypeVar("T")

_KEPT = 16
"""Small tables in memory: those of the corpus, and of the two SAEs that a worker holds."""


class Tables:
    """Reads and writes the tables of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._selected: dict[str, Selected] = {}

    def seen_by(self, run: Run) -> Self:
        """The same tables for a run with another config; what is kept is shared."""
        view = copy.copy(self)
        view.run = run
        return view

    @cached_property
    def store(self) -> Store:
        """The run's folder."""
        return open_store(self.run.uri)

    def objects(self) -> Iterator[str]:
        """Names of all that exists: the run's own, then what it inherits."""
        yield from self.store.list("")
        folders: dict[str, set[str]] = {}
        for node in nodes(self.run.config, self.run.axes):
            if (holder := self.run.inherits.get(node.name)) is not None:
                tables = step_named(node.step).writes
                names = (table_folder(table, node.owner, node.method) for table in tables)
                folders.setdefault(holder, set()).update(names)
        for holder, inherited in folders.items():
            for name in open_store(self.run.sibling(holder)).list(""):
                if name.rpartition("/")[0] in inherited:
                    yield name

    def _store_of(self, table: str, owner: str | None, method: str | None) -> Store:
        """The run's folder, or that of the run from which the table is inherited."""
        node = Node(producer_of(table, method).name, owner, method)
        holder = self.run.inherits.get(node.name)
        if holder is None:
            return self.store
        return self.kept(("store", holder), lambda: open_store(self.run.sibling(holder)))

    def latents(self, task: Task) -> range:
        """The latents of a task that is cut over all latents."""
        assert task.sae is not None
        return self.run.axes.latent_shard(task.sae, task.shard)

    def selection(self, sae: str) -> dict[int, Row]:
        """The chosen latents of an SAE in selection order, panel first, with their marks."""

        def read() -> dict[int, Row]:
            table = self.read("selection", sae)
            chosen = table.filter(pc.field("chosen")).sort_by("order")
            return {row["latent"]: row for row in chosen.to_pylist()}

        return self.kept(("selection", sae), read)

    def carried(self, sae: str) -> frozenset[int]:
        """The latents that keep the label of the latent that they are matched with."""

        def read() -> frozenset[int]:
            table = self.read("selection", sae, columns=["latent", "carried"])
            latents: list[Any] = table.filter(pc.field("carried"))["latent"].to_pylist()
            return frozenset(latents)

        return self.kept(("carried", sae), read)

    def panel(self, sae: str) -> list[int]:
        """The panel's latents in selection order."""
        return [latent for latent, row in self.selection(sae).items() if row["panel"]]

    def controls(self, sae: str) -> list[int]:
        """The latents of the control sample in selection order."""
        return [latent for latent, row in self.selection(sae).items() if row["control"]]

    def kept(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` returns, read once: for what many tasks of one SAE ask. Do not change it.

        Published objects never change, so none is read again; the least recently used is dropped.
        """
        if key not in self._kept:
            self._kept[key] = read()
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        found: T = self._kept[key]
        return found

    def selected(self, sae: str) -> Selected:
        """How many latents the published selection holds; kept of every SAE, as it is small."""
        if sae not in self._selected:
            marks = ["chosen", "panel", "control"]
            table = self.read("selection", sae, columns=marks)
            self._selected[sae] = Selected(*(pc.sum(table[name]).as_py() or 0 for name in marks))
        return self._selected[sae]

    def chosen(self, task: Task) -> list[int]:
        """The latents of a task that is cut over the selection, in selection order; of a control
        those of the control sample.
        """
        assert task.sae is not None
        size = self.run.axes.selected_per_shard
        order = self.asked_about(task.sae, task.method)
        return order[task.shard * size : (task.shard + 1) * size]

    def asked_about(self, sae: str, method: str | None) -> list[int]:
        """The latents that a step cut over the selection is about, in selection order; by a control
        those of the control sample.
        """
        return list((self.controls if is_control(method) else self.selection)(sae))

    def read(
        self,
        table: str,
        sae: str | None,
        method: str | None = None,
        *,
        shards: Iterable[int] | None = None,
        columns: Sequence[str] | None = None,
        row_group: int | None = None,
        having: tuple[str, npt.NDArray[np.integer[Any]]] | None = None,
    ) -> pa.Table:
        """The rows of some or all parts of a table, in part order; or one row group of each.

        `columns` and `having` as `storage.parquet.read_table` has them.
        """
        count = self._count(table, sae, method)
        names = [
            part_name(table, sae, method, shard, count)
            for shard in (range(count) if shards is None else sorted(set(shards)))
        ]
        schema = TABLES[table.split("/")[0]].schema
        if names:
            store = self._store_of(table, sae, method)
            return read_tables(store, names, columns, row_group, having, schema)
        return empty_table(schema, columns)

    def read_finished(
        self,
        table: str,
        sae: str,
        method: str | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of the parts that are there, in part order: none where the run has not come so
        far, or is of a version without the table.
        """
        store = self._store_of(table, sae, method)
        folder = table_folder(table, sae, method)
        names = sorted(name for name in store.list(f"{folder}/") if name.endswith(".parquet"))
        names = [name for name in names if name.rpartition("/")[0] == folder]
        schema = TABLES[table.split("/")[0]].schema
        if not names:
            return empty_table(schema, columns)
        return read_tables(store, names, columns, schema=schema)

    def metadata(self, table: str, sae: str | None, shard: int) -> dict[str, str]:
        """What one part's file says of itself."""
        name = part_name(table, sae, None, shard, self._count(table, sae, None))
        return read_metadata(self._store_of(table, sae, None), name)

    def of_latents(
        self,
        table: str,
        sae: str,
        latents: Sequence[int],
        method: str | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of these latents, in the table's order; `latent` must be among the columns."""
        shards = self._shards_of(table, sae, method, latents)
        wanted = ("latent", np.unique(np.asarray(latents, np.int64)))
        return self.read(table, sae, method, shards=shards, columns=columns, having=wanted)

    def rows(
        self,
        table: str,
        sae: str,
        latents: Sequence[int],
        method: str | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> dict[int, list[Row]]:
        """The rows of these latents, grouped by latent in the latents' order (empty if none)."""
        wanted = self.of_latents(table, sae, latents, method, columns=columns)
        grouped: dict[int, list[Row]] = {latent: [] for latent in latents}
        for row in wanted.to_pylist():
            grouped[row["latent"]].append(row)
        return grouped

    def row(
        self, table: str, sae: str, latents: Sequence[int], method: str | None = None
    ) -> dict[int, Row]:
        """As `rows`, for tables with exactly one row per latent."""
        return {latent: only for latent, (only,) in self.rows(table, sae, latents, method).items()}

    def write(
        self,
        task: Task,
        table: str,
        content: pa.Table | Sequence[Mapping[str, Any]],
        *,
        sae: str | None = None,
        metadata: Mapping[str, str] | None = None,
        row_groups: Sequence[int] | None = None,
    ) -> int:
        """Publish one part of a table: sorted by key, put if absent. `sae` defaults to the task's.

        Whoever was first wins: finding the object there already is no error. Returns how many
        rows became `failed` because they hold a number that is not finite; in a table without
        statuses that raises TaskError (see runs/finite.py).
        """
        owner = sae or task.sae or task.hook_point
        kind = TABLES[table.split("/")[0]]
        if not isinstance(content, pa.Table):
            content = pa.Table.from_pylist([dict(row) for row in content], schema=kind.schema)
        if not rises(content, kind.key):  # sorting lists costs more than looking
            content = content.sort_by([(name, "ascending") for name in kind.key])
        content, num_failed = fail_rows_not_finite(content, kind.key, table)
        write_table(
            self.store,
            part_name(table, owner, task.method, task.shard, task.num_shards),
            content,
            kind.schema,
            {**self.run.stamp(task.step, owner, task.method), **(metadata or {})},
            key=kind.key,
            row_groups=row_groups,
        )
        return num_failed

    def _places(self, sae: str) -> dict[int, int]:
        """By chosen latent, its place in the selection's order."""

        def read() -> dict[int, int]:
            return {latent: place for place, latent in enumerate(self.selection(sae))}

        return self.kept(("places", sae), read)

    def _count(self, table: str, sae: str | None, method: str | None) -> int:
        selected: dict[str, Selected] = {}
        if producer_of(table, method).split == "selection":
            assert sae is not None
            selected[sae] = self.selected(sae)
        return part_count(self.run.axes, selected, table, sae, method)

    def _shards_of(
        self, table: str, sae: str, method: str | None, latents: Sequence[int]
    ) -> set[int]:
        axes, split = self.run.axes, producer_of(table, method).split
        if split == "latents":
            start = axes.latents[sae].start
            return {(latent - start) // axes.latents_per_shard for latent in latents}
        if split == "selection":
            order = self._places(sae)
            return {order[latent] // axes.selected_per_shard for latent in latents}
        return set(range(self._count(table, sae, method)))
