"""keywords: a description of every latent without any LLM, from what it fires on and promotes.

The words that it quotes are kept as lists too: `keyword_score` asks how well they foretell where
the latent fires.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.keywords import (
    FiredToken,
    fired_token,
    fired_words,
    keywords,
    promoted_words,
)
from ray_autointerp.passes.list_offsets import list_offsets
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext

_EXAMPLES_READ = 20
"""Top examples looked at: more adds weak ones."""

# By name: the columns that are not needed here are most of these rows.
_EXAMPLE_COLUMNS = ("examples.list.element.texts", "examples.list.element.activations")
_LIST_COLUMNS = ("promoted.list.element.text", "promoted.list.element.logit")


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `descriptions/keywords` and `keyword_lists/keywords`."""
    assert task.sae is not None
    latents = context.tables.latents(task)
    examples = context.tables.of_latents(
        "top_examples", task.sae, latents, columns=["latent", "split", *_EXAMPLE_COLUMNS]
    )
    examples = examples.filter(pc.field("split") == "explain")
    lists = context.tables.of_latents(
        "jacobian_proj", task.sae, latents, columns=["latent", *_LIST_COLUMNS]
    )
    fired = [fired_words(own) for own in _fired(examples["examples"].combine_chunks())]
    promoted = [
        promoted_words([entry["text"] for entry in entries or () if entry["logit"] != 0])
        for entries in lists["promoted"].to_pylist()
    ]
    found = [keywords(*words) for words in zip(fired, promoted, strict=True)]
    schema = TABLES["descriptions"].schema
    columns = {field.name: pa.nulls(len(latents), field.type) for field in schema} | {
        "latent": examples["latent"],
        "status": ["ok" if str(own) else "no_evidence" for own in found],
        "description": [str(own) or None for own in found],
        "trigger": [own.fires_on for own in found],
        "promotes": [own.promotes for own in found],
    }
    context.write(task, "descriptions", pa.table(columns, schema=schema))
    tokens = [[word.token for word in own] for own in fired]
    quoted = columns | {"fired": tokens, "promoted": promoted}
    schema = TABLES["keyword_lists"].schema
    quoted = {name: quoted[name] for name in schema.names}
    context.write(task, "keyword_lists", pa.table(quoted, schema=schema))


def _fired(lists: "pa.Array[Any]") -> list[list[list[FiredToken]]]:
    """Of each latent's first examples, the tokens on which it is active."""
    first = pc.list_slice(lists, 0, _EXAMPLES_READ)
    examples = pc.list_flatten(first)
    activations = pc.struct_field(examples, "activations")
    values_N = pc.list_flatten(activations).to_numpy()
    is_active_N = values_N > 0
    example_N = pc.list_parent_indices(activations).to_numpy()[is_active_N]
    texts = pc.list_flatten(pc.struct_field(examples, "texts")).to_pylist()
    starts = list_offsets(activations).tolist()
    tokens = []
    for place, example in zip(
        np.flatnonzero(is_active_N).tolist(), example_N.tolist(), strict=True
    ):
        start, stop = starts[example : example + 2]
        tokens.append(fired_token(texts[start:stop], place - start, float(values_N[place])))
    ends = np.searchsorted(example_N, np.arange(len(examples) + 1)).tolist()
    by_example = [tokens[start:stop] for start, stop in zip(ends[:-1], ends[1:], strict=True)]
    bounds = list_offsets(first).tolist()
    return [by_example[start:stop] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
