"""keyword_score: how well each latent's own keywords foretell where it fires in held-out text.

No LLM and no model. The text is the score side of the sampled windows, whose every firing is
known; the keywords come from the explain side. The floor beside each score is that of the keywords
of another latent, drawn by seeded hash from all that have some.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.keyword_score import (
    MIN_FIRINGS,
    Firings,
    HeldOutText,
    Keywords,
    KeywordScores,
    keyword_scores,
)
from ray_autointerp.methods.keywords import spelling
from ray_autointerp.methods.radix_order import radix_order
from ray_autointerp.passes.list_offsets import list_offsets
from ray_autointerp.passes.token_texts import token_texts
from ray_autointerp.passes.window_sample import firing_tokens
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.split_characters import named_pieces
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


@dataclass(frozen=True)
class _Sample:
    """What is the same for all shards of an SAE: the text, all firings in it, all keywords."""

    text: HeldOutText
    latents_N: npt.NDArray[np.int32]
    """Of each firing, rising."""
    tokens_N: npt.NDArray[np.int32]
    values_N: npt.NDArray[np.float32]
    spellings: "pa.Array[Any]"
    """Of each latent the spellings of its keywords that the text has."""
    has_keywords_L: npt.NDArray[np.bool_]


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `keyword_scores`."""
    assert task.sae is not None
    sae, latents = task.sae, context.tables.latents(task)
    first = context.run.axes.latents[sae].start
    sample = context.tables.kept(("keyword_sample", sae), lambda: _sample(context, sae))
    firings = _firings(sample, latents)
    own_L = np.arange(latents.start, latents.stop) - first
    other_L = _others(sample.has_keywords_L, own_L, first, context.run.config.run.seed)
    num_firings_L = np.diff(firings.offsets_L1)
    status_L = np.where(
        num_firings_L < MIN_FIRINGS,
        "too_few_firings",
        np.where(sample.has_keywords_L[own_L], "ok", "no_evidence"),
    )
    is_ok_L = status_L == "ok"
    columns = {
        "latent": pa.array(latents, pa.int32()),
        "status": pa.array(status_L.tolist()),
        "num_firings": pa.array(num_firings_L),
        "shuffled_with": pa.array(other_L + first, pa.int32(), mask=~is_ok_L | (other_L < 0)),
    }
    for rows_L, end in ((own_L, ""), (other_L, "_shuffled")):
        scores = keyword_scores(sample.text, firings, _keywords(sample, rows_L))
        is_known_L = is_ok_L & (rows_L >= 0)
        for field in fields(KeywordScores):
            values_L = getattr(scores, field.name)
            columns[field.name.removesuffix("_L") + end] = pa.array(
                values_L, mask=~is_known_L | np.isnan(values_L)
            )
    schema = TABLES["keyword_scores"].schema
    content = {field.name: columns[field.name].cast(field.type) for field in schema}
    context.write(task, "keyword_scores", pa.table(content, schema=schema))


def _sample(context: WorkerContext, sae: str) -> _Sample:
    windows = context.tables.read("window_sample", sae).filter(pc.field("split") == "score")
    token_ids_N = pc.list_flatten(windows["token_ids"]).to_numpy()
    starts_W1 = list_offsets(windows["token_ids"])
    latents_N = np.array(pc.list_flatten(windows["latents"]).to_numpy())  # PyTorch sorts no view
    tokens_N = firing_tokens(windows)
    order = radix_order(latents_N)
    texts = token_texts(token_ids_N, starts_W1, context.tokenizer, name=named_pieces)
    words = [spelling(text) for text in texts.different]
    number = {word: i for i, word in enumerate(dict.fromkeys(words))}
    text = HeldOutText(
        np.array([number[word] for word in words], np.int32)[texts.codes_N],
        np.repeat(np.arange(windows.num_rows, dtype=np.int32), np.diff(starts_W1)),
        len(number),
        windows.num_rows,
    )
    quoted = context.tables.read("keyword_lists", sae, "keywords", columns=["fired"])
    fired: list[list[str]] = quoted["fired"].to_pylist()  # type: ignore[assignment]  # no nulls
    known = [[number[word] for word in map(spelling, own) if word in number] for own in fired]
    return _Sample(
        text,
        latents_N[order],
        tokens_N[order].astype(np.int32),
        pc.list_flatten(windows["values"]).to_numpy()[order],
        pa.array(known, pa.list_(pa.int32())),
        np.array([bool(own) for own in fired]),
    )


def _firings(sample: _Sample, latents: range) -> Firings:
    ends = np.searchsorted(sample.latents_N, np.arange(latents.start, latents.stop + 1))
    own = slice(ends[0], ends[-1])
    return Firings(ends - ends[0], sample.tokens_N[own], sample.values_N[own])


def _keywords(sample: _Sample, rows_L: npt.NDArray[np.int64]) -> Keywords:
    """The keywords of some latents; none for a row below 0."""
    rows = pa.array([row if row >= 0 else None for row in rows_L.tolist()], pa.int64())
    lists = sample.spellings.take(rows)
    return Keywords(list_offsets(lists), pc.list_flatten(lists).to_numpy())


def _others(
    has_keywords_L: npt.NDArray[np.bool_], own_L: npt.NDArray[np.int64], first: int, seed: int
) -> npt.NDArray[np.int64]:
    """For each latent another that has keywords, by seeded hash; -1 where fewer than two have."""
    candidates = np.flatnonzero(has_keywords_L)
    if len(candidates) < 2:
        return np.full_like(own_L, -1)
    seeds = [derive_seed(seed, "keyword_score", first + own) for own in own_L.tolist()]
    drawn_L = np.array([one % len(candidates) for one in seeds])
    is_own_L = candidates[drawn_L] == own_L
    other_L: npt.NDArray[np.int64] = candidates[drawn_L - is_own_L]
    return other_L
