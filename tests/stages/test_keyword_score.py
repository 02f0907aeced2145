"""keyword_score: which windows, words and latents it reads, whatever the shards."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ray_autointerp.methods.keyword_score import MIN_FIRINGS
from ray_autointerp.plan.shards import LatentRange
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.stages import keyword_score

FIRST, NUM_LATENTS, NUM_WINDOWS, LENGTH = 5, 24, 40, 12
TEXTS = [" Zero", "zero", " one", "ONE", " two", "three", " ", "\n"]


class WorkerContext:
    """A random sample in which latent i fires on the tokens i, i + 1 of TEXTS, and its tables."""

    def __init__(self, per_shard: int, fired: dict[int, list[str]], seed: int = 3) -> None:
        whole = LatentRange(FIRST, FIRST + NUM_LATENTS)
        config = SimpleNamespace(run=SimpleNamespace(seed=seed))
        self.run: Any = SimpleNamespace(config=config, axes=SimpleNamespace(latents={"s": whole}))
        self.tokenizer = SimpleNamespace(
            texts=lambda ids: [TEXTS[i] for i in ids], has_part=lambda _: False
        )
        self.per_shard = per_shard
        self._tables = {
            "window_sample": [sampled(window) for window in range(NUM_WINDOWS)],
            "keyword_lists": [
                {"latent": i, "status": "ok", "fired": fired.get(i, [])} for i in all_latents()
            ],
        }
        self._kept: dict[Any, Any] = {}
        self.num_read = 0
        self.written = pa.table({})

    @property
    def tables(self) -> Any:
        return self

    def latents(self, task: Task) -> range:
        start = FIRST + task.shard * self.per_shard
        return range(start, min(start + self.per_shard, FIRST + NUM_LATENTS))

    def kept(self, key: Any, read: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = read()
        return self._kept[key]

    def read(self, table: str, _sae: str, *_: Any, columns: list[str] | None = None) -> pa.Table:
        self.num_read += 1
        found = pa.Table.from_pylist(self._tables[table], schema=TABLES[table].schema)
        return found.select(columns or found.column_names)

    def write(self, _task: Task, _table: str, content: pa.Table) -> None:
        self.written = content


def all_latents() -> range:
    return range(FIRST, FIRST + NUM_LATENTS)


def sampled(window: int) -> dict[str, Any]:
    """On the explain side every latent fires on every token: who reads it sees other scores."""
    draws = np.random.default_rng(window)
    tokens = draws.integers(0, len(TEXTS), LENGTH).tolist()
    split = "explain" if window % 4 == 0 else "score"
    entries = [
        (latent, position)
        for position, token in enumerate(tokens)
        for latent in all_latents()
        if latent != FIRST and (split == "explain" or token in (latent % 8, (latent + 1) % 8))
    ]
    order = draws.permutation(len(entries))
    return {
        "window": window,
        "split": split,
        "token_ids": tokens,
        "latents": [entries[i][0] for i in order],
        "positions": [entries[i][1] for i in order],
        "values": draws.uniform(0.5, 2, len(entries)).tolist(),
    }


def scored(per_shard: int, fired: dict[int, list[str]], seed: int = 3) -> list[dict[str, Any]]:
    context: Any = WorkerContext(per_shard, fired, seed)
    num_shards = -(-NUM_LATENTS // per_shard)
    rows = []
    for shard in range(num_shards):
        task = Task("keyword_score", "s", None, shard, num_shards)
        keyword_score.run(task, context)
        rows += context.written.to_pylist()
    assert context.num_read == 2, "each table once per worker"
    return rows


def words_of(latent: int) -> list[str]:
    return [TEXTS[latent % 8].strip() or TEXTS[latent % 8]]


FIRED = {latent: words_of(latent) for latent in all_latents() if latent % 5}


@pytest.mark.parametrize("per_shard", [1, 7, 24])
def test_scores_do_not_depend_on_the_shards(per_shard: int) -> None:
    assert scored(per_shard, FIRED) == scored(10, FIRED)


def test_scores_count_every_spelling_on_the_score_side_alone() -> None:
    tokens = [t for w in range(NUM_WINDOWS) if w % 4 for t in sampled(w)["token_ids"]]
    rows = {row["latent"]: row for row in scored(10, FIRED)}
    one = rows[11]  # fires on "ONE" and " two", is described by "ONE"
    num_hits, num_predicted = tokens.count(3), tokens.count(2) + tokens.count(3)
    assert one["num_firings"] == tokens.count(3) + tokens.count(4)
    assert one["num_predicted"] == num_predicted
    assert one["precision"] == pytest.approx(num_hits / num_predicted)
    assert one["recall"] == pytest.approx(num_hits / one["num_firings"])
    blank = rows[14]  # fires on " " and "\n": one spelling each
    assert blank["precision"] == 1 and 0 < blank["recall"] < 1


def test_floor_is_the_score_of_another_latents_keywords() -> None:
    rows = scored(10, FIRED)
    own = {row["latent"]: row for row in rows}
    assert own[FIRST]["status"] == "too_few_firings" and own[FIRST]["f1"] is None
    assert own[FIRST]["num_firings"] == 0 < MIN_FIRINGS
    others = {row["latent"]: row["shuffled_with"] for row in rows if row["status"] == "ok"}
    assert set(others) == set(FIRED), "without keywords there is no evidence"
    assert set(others.values()) <= set(FIRED) and len(set(others.values())) > 5
    for latent, other in others.items():
        assert other != latent
        swapped = {row["latent"]: row for row in scored(10, FIRED | {latent: FIRED[other]})}
        for name in ("precision", "recall", "f1", "f1_weighted", "window_auroc"):
            assert own[latent][f"{name}_shuffled"] == swapped[latent][name]
    reseeded = {row["latent"]: row["shuffled_with"] for row in scored(10, FIRED, seed=4)}
    assert reseeded != others | {i: None for i in reseeded.keys() - others.keys()}


@pytest.mark.parametrize("fired", [{}, {9: ["two"]}])
def test_fewer_than_two_latents_with_keywords_have_no_floor(fired: dict[int, list[str]]) -> None:
    rows = {row["latent"]: row for row in scored(10, fired)}
    assert {latent for latent, row in rows.items() if row["status"] == "ok"} == set(fired)
    assert all(row["f1_shuffled"] is None for row in rows.values())


def test_keywords_that_the_text_lacks_score_nothing() -> None:
    rows = {row["latent"]: row for row in scored(10, {9: ["unseen"], 10: ["two"]})}
    row = rows[9]
    assert (row["status"], row["f1"], row["num_predicted"], row["precision"]) == ("ok", 0, 0, None)
    assert row["window_auroc"] is None or row["window_auroc"] == 0.5
