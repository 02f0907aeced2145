"""publish: the labels, one row per latent, and the one file for people.

The label is the scored description that does best in choosing trials, which no published score
counts (methods/choice.py), or the first `ok` one in the config's order. A latent that was not
chosen keeps its keywords, one that is carried the whole outcome of the run that its label was made
in. Beside it stands the latent's name, whatever the label is by, with the
share of forced choices that the name alone won.

A description whose text several latents of the SAE have is `lint` here and not in its own table:
only who reads all of them can tell, whatever the shards and the order of tasks. `keywords` are
computed and exempt.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.choice import choose
from ray_autointerp.methods.output_score import pooled_win_rate
from ray_autointerp.passes.agreement_curve import nearest_map
from ray_autointerp.passes.carried_labels import CarriedLabels
from ray_autointerp.passes.choosing_trials import choosing_trials
from ray_autointerp.passes.list_offsets import list_offsets
from ray_autointerp.passes.revivals import revivals, strongest
from ray_autointerp.plan.controls import is_control
from ray_autointerp.plan.evidence import label_methods
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.reads import producer_of
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.prompts.repeated_text import repeated
from ray_autointerp.records.layout import labels_file
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.parquet import write_table

_SHOWN_TOKENS = 5
"""Tokens of each list repeated in the labels table, for eyes."""

_DESCRIBED = ("latent", "status", "description")
_STATISTICS = ("is_dead", "density", "max_activation")
_PEAKS = ("examples.list.element.peak", "examples.list.element.texts")
_FORCED_CHOICES = {"output_scores": "num_units", "unseen_scores": "num_trials"}
"""Tables with the win rates of descriptions, and their columns with the number of trials."""
_MOVED = {"promotes": "promoted", "suppresses": "suppressed"}

Column: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `labels`."""
    assert task.sae is not None
    shard = _Shard(context.tables, task.sae, context.tables.latents(task))
    carried = CarriedLabels(context.tables, task.sae, shard.latents)
    described = shard.described()
    choices = shard.choices(described)
    context.write(task, "choices", carried.choices(choices))
    method: Any = pa.array([choice["method"] for choice in choices], pa.string())
    label: Any = pa.nulls(len(shard.latents), pa.string())
    best_status = label
    for name, (status, text) in reversed(described.items()):
        label = pc.if_else(pc.fill_null(pc.equal(method, pa.scalar(name)), False), text, label)
        best_status = pc.coalesce(status, best_status)
    is_chosen = pa.array([latent in shard.chosen for latent in shard.latents])
    statistics = shard.aligned("latent_stats", None, _STATISTICS)
    columns: dict[str, Any] = {
        "latent": pa.array(shard.latents, pa.int32()),
        "label": label,
        "method": method,
        "runner_up": [choice["runner_up"] for choice in choices],
        "margin": [choice["margin"] for choice in choices],
        # Without a label, what came of the method that the config prefers.
        "status": pc.if_else(
            pc.is_valid(method),
            "ok",
            pc.if_else(is_chosen, pc.fill_null(best_status, "no_evidence"), "not_selected"),
        ),
        "repeated": shard.repeated(),
        "chosen": is_chosen,
        **{name: statistics[name] for name in _STATISTICS},
        **shard.names(),
        **shard.revived(),
        **shard.scores(method),
        "fires_on": shard.peak_tokens(),
        **shard.moved_tokens(),
    }
    schema = TABLES["labels"].schema
    content = carried.columns(columns)
    context.write(task, "labels", pa.table(content, schema=schema).combine_chunks())


def publish_labels(run: Run, sae: str) -> None:
    """Join the shards of `labels` into `labels.parquet`, written last; nothing if it is there. Its
    metadata says what the SAE is and how well it fits.
    """
    tables = Tables(run)
    (fit,) = tables.read("sae_fit", sae).to_pylist()
    write_table(
        tables.store,
        labels_file(sae),
        pa.concat_tables([tables.read("labels", sae)]).combine_chunks(),
        TABLES["labels"].schema,
        {**run.stamp("publish", sae), **{name: str(value) for name, value in fit.items()}},
        key=TABLES["labels"].key,
    )


class _Shard:
    """One latent shard of an SAE: columns with an entry for each latent, in order."""

    def __init__(self, tables: Tables, sae: str, latents: range) -> None:
        self._tables, self._sae, self.latents = tables, sae, latents
        selection = tables.selection(sae)
        self.chosen = {latent for latent in latents if latent in selection}
        self._repeated = _repeated(tables, sae)

    def aligned(self, table: str, method: str | None, columns: Sequence[str]) -> pa.Table:
        """A row per latent, of nulls where the table has none of it."""
        rows = self._of_latents(table, method, columns)
        place = pc.index_in(pa.array(self.latents, pa.int32()), rows["latent"].combine_chunks())
        return rows.take(place)

    def described(self) -> dict[str, tuple[Any, Column]]:
        """Status and text of every description that may be the label, by method in the config's
        order.
        """
        found: dict[str, tuple[Any, Column]] = {}
        for name in label_methods(self._tables.run.config):
            rows = self.aligned("descriptions", name, ["status", "description"])
            is_repeated = pa.array([latent in self._repeated[name] for latent in self.latents])
            status: Any = pc.if_else(is_repeated, "lint", rows["status"])
            found[name] = status, rows["description"]
        return found

    def choices(self, described: Mapping[str, tuple[Any, Column]]) -> list[Row]:
        """A row of `choices` per latent: which of its descriptions becomes the label, and why."""
        trials = choosing_trials(self._tables, self._sae)
        names = list(described)
        is_ok_ML = [
            pc.equal(status, pa.scalar("ok")).to_pylist() for status, _ in described.values()
        ]
        first = names.index("keywords") if "keywords" in names else None
        rows: list[Row] = []
        for place, latent in enumerate(self.latents):
            row: Row = {"latent": latent, "status": "no_evidence", "method": None}
            row |= {"runner_up": None, "margin": None}
            candidates = [i for i, is_ok_L in enumerate(is_ok_ML) if is_ok_L[place]]
            if candidates:
                expected = trials.expected(latent)
                chosen = choose(expected, candidates, first, trials.needed_M.tolist())
                row |= {
                    "status": "ok",
                    "method": names[chosen.winner],
                    "runner_up": None if chosen.runner_up is None else names[chosen.runner_up],
                    "margin": chosen.margin,
                    "reliability": trials.reliability,
                    "candidates": [
                        {
                            "method": names[i],
                            "halves": trials.halves(latent, i),
                            "expected": None if math.isnan(expected[i]) else expected[i],
                        }
                        for i in candidates
                    ],
                }
            rows.append(row)
        return rows

    def repeated(self) -> list[list[str]]:
        """The methods whose text several other latents have too."""
        return [
            [name for name, latents in self._repeated.items() if latent in latents]
            for latent in self.latents
        ]

    def names(self) -> dict[str, Any]:
        """The latents' names, and how well each alone tells its latent, where it was scored."""
        config = self._tables.run.config
        texts: Any = pa.nulls(len(self.latents), pa.string())
        if "named_keywords" in config.describe.methods:
            texts = self.aligned("descriptions", "named_keywords", ["name"])["name"]
        scores: list[list[tuple[float, int]]] = [[] for _ in self.latents]
        for table, number in _FORCED_CHOICES.items():
            if "name" in methods_of(producer_of(table, None), config):
                rows = self.aligned(table, "name", ["win_rate", number]).to_pylist()
                for found, row in zip(scores, rows, strict=True):
                    if row["win_rate"] is not None:
                        found.append((row["win_rate"], row[number]))
        won = [pooled_win_rate(found) for found in scores]
        return {
            "name": texts,
            "name_win_rate": [pooled and pooled[0] for pooled in won],
            "name_win_rate_low": [pooled and pooled[1].low for pooled in won],
            "name_win_rate_high": [pooled and pooled[1].high for pooled in won],
        }

    def revived(self) -> dict[str, list[Any]]:
        """Whether any text fires a dead chosen latent, and the one that does so most."""
        by_latent = revivals(self._tables, self._sae, sorted(self.chosen))
        best = [strongest(by_latent.get(latent, {})) for latent in self.latents]
        return {
            "revived": [found and found.row["revived"] for found in best],
            "revived_by": [found and found.row["text"] for found in best],
        }

    def scores(self, method: Column) -> dict[str, Column]:
        """The label columns of every step that has some, by the methods that the labels are of."""
        found: dict[str, Any] = {}
        for step in FLOW:
            table, names = step.writes[-1], [column for _, column in step.label_columns]
            for name, column in step.label_columns:
                kind = TABLES[table].schema.field(column).type
                found[name] = pa.nulls(len(self.latents), kind)
            made_by = methods_of(step, self._tables.run.config) if step.label_columns else ()
            for made in made_by:
                if is_control(made):
                    continue
                rows = self.aligned(table, made, names)
                # What has no method is of the latent, whatever its label.
                is_its: Any = pc.equal(method, pa.scalar(made, pa.string()))
                is_label = pc.fill_null(is_its, made is None)
                for name, column in step.label_columns:
                    found[name] = pc.if_else(is_label, rows[column], found[name])
        return found

    def peak_tokens(self) -> list[list[str]]:
        """The tokens of the strongest explain-side peaks, each once, strongest first."""
        rows = self._of_latents("top_examples", None, ["split", *_PEAKS])
        lists = rows["examples"].combine_chunks()
        examples = pc.list_flatten(lists)
        texts = pc.struct_field(examples, "texts")
        places = list_offsets(texts)[:-1] + pc.struct_field(examples, "peak").to_numpy()
        found = pc.list_flatten(texts).take(places).cast(pa.dictionary(pa.int32(), pa.string()))
        words = found.dictionary.to_pylist()
        peaks = [words[index] for index in found.indices.to_numpy().tolist()]
        ends = list_offsets(lists).tolist()
        return [
            list(dict.fromkeys(peaks[start:stop]))[:_SHOWN_TOKENS]
            for start, stop, side in zip(
                ends[:-1], ends[1:], rows["split"].to_pylist(), strict=True
            )
            if side == "explain"
        ]

    def moved_tokens(self) -> dict[str, Column]:
        """Tokens that it moves: by TokenChange where it was run, else by the better cheap map."""
        paths = [f"{name}.list.element.text" for name in _MOVED.values()]
        mode = self._tables.run.config.evidence.change_modes[0]
        changes = self._of_latents("token_change", mode, ["sign", "status", *paths])
        raised = changes.filter((pc.field("sign") == 1) & (pc.field("status") == "ok"))
        cheap = self.aligned(nearest_map(self._tables, self._sae), None, paths)
        latents = pa.array(self.latents, pa.int32())
        found = pc.index_in(latents, raised["latent"].combine_chunks()).fill_null(-1).to_numpy()
        place = np.where(found < 0, raised.num_rows + np.arange(len(latents)), found)
        both = pa.concat_tables([raised.select(cheap.column_names), cheap]).take(place)
        return {name: _first_texts(both[column]) for name, column in _MOVED.items()}

    def _of_latents(self, table: str, method: str | None, columns: Sequence[str]) -> pa.Table:
        """The rows of the shard's latents, or of those chosen where the table has only them."""
        is_of_all = producer_of(table, method).split == "latents"
        latents = self.latents if is_of_all else sorted(self.chosen)
        return self._tables.of_latents(
            table, self._sae, latents, method, columns=["latent", *columns]
        )


def _repeated(tables: Tables, sae: str) -> Mapping[str, frozenset[int]]:
    """By method, in the config's order, the latents whose text others have too."""

    def read() -> Mapping[str, frozenset[int]]:
        found: dict[str, frozenset[int]] = {}
        for method in tables.run.config.describe.methods:
            found[method] = frozenset()
            if method != "keywords":
                table = tables.read("descriptions", sae, method, columns=_DESCRIBED)
                table = table.filter(pc.field("status") == "ok")
                found[method] = repeated(
                    {row["latent"]: row["description"] for row in table.to_pylist()}
                )
        return found

    return tables.kept(("repeated", sae), read)


def _first_texts(lists: "pa.ChunkedArray[Any]") -> "pa.Array[Any]":
    """Of each list of tokens the texts of the first; none for a null."""
    first = pc.list_slice(lists.combine_chunks(), 0, _SHOWN_TOKENS)
    texts = pc.struct_field(pc.list_flatten(first), "text")
    return pa.ListArray.from_arrays(pa.array(list_offsets(first), pa.int32()), texts)
