"""A run for a notebook or a script: its labels, scores and latents as Arrow tables and cards.

Only reads, whatever tables the run has by now: nothing is kept that could become old.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ray_autointerp.errors import UserError
from ray_autointerp.reports.label_table import labels
from ray_autointerp.reports.latent_card import LatentCard, latent_card
from ray_autointerp.reports.score_table import score_table
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

_TEXTS = ("label", "name")
_LISTS = ("fires_on", "promotes", "suppresses")
"""Columns of labels that are searched."""

_KINDS = {"examples": "top", "stratified": "stratified", "near_misses": "near_miss"}
"""What the lists of `top_examples` hold."""

_EXAMPLE_COLUMNS: Mapping[str, pa.DataType] = {
    **{"kind": pa.string(), "split": pa.string(), "activation": pa.float32()},
    **{"text": pa.string(), "peak": pa.int16(), "tokens": pa.list_(pa.string())},
    **{"activations": pa.list_(pa.float32()), "document_id": pa.string()},
}


Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to rows of length 1, float32 [num_texts, dim]."""


class LabelledRun:
    """A run's labels, scores and latents. Made by `read_run`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tables = Tables(run)

    def __repr__(self) -> str:
        axes = self._run.axes.latents
        counts = [f"{sae} ({len(latents):,} latents)" for sae, latents in axes.items()]
        return f"LabelledRun({self.uri!r}: {', '.join(counts)})"

    @property
    def uri(self) -> str:
        """The run's folder, local or `s3://`."""
        return self._run.uri

    @property
    def saes(self) -> tuple[str, ...]:
        """The ids of its SAEs, in the config's order."""
        return self._run.saes

    def labels(self, sae: str | None = None) -> pa.Table:
        """The published labels of one SAE or of all, a row per latent; of a run that is not
        finished those that are there. `.to_pandas()`, `polars.from_arrow` and DuckDB take it.
        """
        return pa.concat_tables([_of_sae(one, labels(self._run, one)) for one in self._asked(sae)])

    def scores(self, sae: str | None = None) -> pa.Table:
        """Every score of every description: a row per latent, method and score, with its 95 %
        interval, chance level and floor; without a value, `status` says why.
        """
        return pa.concat_tables([score_table(self._tables, one) for one in self._asked(sae)])

    def search(self, text: str, sae: str | None = None, embed: Embed | None = None) -> pa.Table:
        """The labels in which every word of the text stands, case ignored: in the label, the name,
        or the tokens that it fires on, promotes or suppresses.

        With `embed`, such as `TextEmbedding()`, all labels, the nearest in meaning first: column
        `similarity` is the cosine of name and label with the text.
        """
        found = self.labels(sae)
        if embed is not None:
            return _by_similarity(found, text, embed)
        rows = found.select([*_TEXTS, *_LISTS]).to_pylist()
        words = text.casefold().split()
        return found.filter(pa.array([_holds(row, words) for row in rows], pa.bool_()))

    def latent(self, latent: int, sae: str | None = None) -> LatentCard:
        """Everything of one latent; a notebook shows it as HTML, `print` as text. `sae` may be left
        out where the run has one.
        """
        return latent_card(self._run, self._one(sae), latent)

    def examples(self, latent: int, sae: str | None = None) -> pa.Table:
        """The excerpts of one latent, a row each: the strongest (`top`), some at each strength
        (`stratified`), and silent ones with tokens on which it fires elsewhere (`near_miss`).
        """
        card = self.latent(latent, sae)
        rows = [
            {
                **{name: example[name] for name in ("activation", "peak", "activations")},
                "document_id": example["document_id"],
                "kind": kind,
                "split": row["split"],
                "text": "".join(example["texts"]),
                "tokens": example["texts"],
            }
            for row in card.example_rows
            for column, kind in _KINDS.items()
            for example in row[column] or ()
        ]
        return pa.Table.from_pylist(rows, schema=pa.schema(_EXAMPLE_COLUMNS))

    def _asked(self, sae: str | None) -> tuple[str, ...]:
        return self.saes if sae is None else (self._one(sae),)

    def _one(self, sae: str | None) -> str:
        if sae is None and len(self.saes) == 1:
            return self.saes[0]
        if sae not in self.saes:
            named = "Name an SAE with `sae=`" if sae is None else f"There is no SAE `{sae}`"
            raise UserError(f"{named}; the run has {', '.join(self.saes)}.")
        return sae


def read_run(uri: str | Path) -> LabelledRun:
    """A run at a folder or `s3://` URI, finished or not. Raises StoreError if there is none."""
    return LabelledRun(load_run(str(uri)))


def _by_similarity(found: pa.Table, text: str, embed: Embed) -> pa.Table:
    found = found.filter(found["label"].is_valid())
    texts = [_label_text(row) for row in found.select(["name", "label"]).to_pylist()]
    vectors = embed([text, *texts])
    similarity = pa.array(vectors[1:] @ vectors[0], pa.float32())
    ranked = found.append_column("similarity", similarity)
    return ranked.sort_by([("similarity", "descending"), ("latent", "ascending")])


def _label_text(row: Row) -> str:
    """Name and label, the name once."""
    name, label = row["name"], row["label"]
    return label if name is None or label.startswith(name) else f"{name}; {label}"


def _holds(row: Row, words: Sequence[str]) -> bool:
    texts = [row[name] or "" for name in _TEXTS]
    texts += [" ".join(row[name] or ()) for name in _LISTS]
    whole = "\n".join(texts).casefold()
    return all(word in whole for word in words)


def _of_sae(sae: str, table: pa.Table) -> pa.Table:
    field = pa.field("sae", pa.string(), nullable=False)
    return table.add_column(0, field, pa.repeat(pa.scalar(sae), table.num_rows))
