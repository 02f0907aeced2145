"""Windows of tokens: nothing is dropped in silence, and each document is on one side."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_autointerp.config import Config
from ray_autointerp.errors import CorpusError
from ray_autointerp.llm.scripted import ScriptedLLM, planted_script
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes import documents
from ray_autointerp.plan.shards import Axes
from ray_autointerp.records.keys import WINDOWS_PER_TOKEN_SHARD
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.stages import corpus

Planted = Callable[..., Config]


@pytest.fixture
def tokenizer(planted: PlantedTruth) -> SubjectTokenizer:
    return SubjectTokenizer.load(str(planted.folder / "subject"))


@pytest.fixture
def windows(quick_config: Planted, tmp_path: Path) -> Callable[..., list[Row]]:
    """windows(documents, **corpus settings): the rows of all token shards."""
    runs = itertools.count()

    def make(rows: list[dict[str, Any]], shards: int = 3, **settings: Any) -> list[Row]:
        if rows:
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus.parquet")
        settings = {
            "path": str(tmp_path / "corpus.parquet"),
            "id_column": None,
            "window": 32,
            "prepend_bos": True,
        } | settings
        config = quick_config(tmp_path / "runs", {"corpus": settings})
        run = Run(
            config,
            Axes(shards, {}, 1, 1, {}, 4, 4),
            str(tmp_path / f"run-{next(runs)}"),
        )
        context = WorkerContext(run, llm=ScriptedLLM(planted_script))
        for shard in range(shards):
            corpus.run(Task("corpus", None, None, shard, shards), context)
        return Tables(run).read("tokens", None).to_pylist()

    return make


def text(number: int, length: int = 40) -> str:
    words = "the a and then we saw it was near some".split()
    return " ".join(words[(number + i * (1 + number % 3)) % len(words)] for i in range(length))


def test_every_token_of_every_document_is_in_one_window(
    windows: Callable[..., list[Row]], tokenizer: SubjectTokenizer
) -> None:
    texts = [text(number, length) for number, length in enumerate((40, 31, 62, 9, 100, 8, 1))]
    rows = windows([{"text": t} for t in texts], num_tokens=10_000)
    for document, whole in enumerate(texts):
        pieces = [row["token_ids"][1:] for row in rows if row["document"] == document]
        kept = [token for piece in pieces for token in piece]
        ids = tokenizer.encode(whole)
        assert kept == ids[: len(kept)], "in order, none twice"
        assert len(ids) - len(kept) < 8, "only a tail too short to read a latent in is left out"
    assert all(len(row["token_ids"]) <= 32 for row in rows)
    assert all(row["token_ids"][0] == tokenizer.bos_id for row in rows)


def test_document_is_on_one_side_and_both_sides_have_some(
    windows: Callable[..., list[Row]],
) -> None:
    rows = windows([{"text": text(number, 70 + number)} for number in range(30)])
    sides = {d: {r["split"] for r in rows if r["document"] == d} for d in range(30)}
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == {"explain", "score"}


def test_shards_take_their_share_of_the_tokens_and_say_how_many(
    windows: Callable[..., list[Row]],
) -> None:
    rows = windows([{"text": text(number)} for number in range(60)], num_tokens=900)
    tokens: Counter[int] = Counter()
    for row in rows:
        tokens[row["window"] // WINDOWS_PER_TOKEN_SHARD] += len(row["token_ids"])
    assert all(300 - 42 < tokens[shard] < 300 + 42 for shard in range(3))
    assert 900 <= tokens.total() < 900 + 42, "the last document that is needed is the last"


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "folder"])
def test_documents_are_taken_in_order_and_the_source_is_read_once(
    windows: Callable[..., list[Row]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    """Also by workers that follow each other: then each reader begins where the last one ended."""
    texts = [text(number) for number in range(60)]
    source = tmp_path / f"source.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"text": texts}), source, row_group_size=7)
    elif suffix == "jsonl":
        lines = [json.dumps({"text": line}, ensure_ascii=False) for line in texts]
        source.write_text("\ufeff" + "\n\n".join(lines))
    else:
        source.mkdir()
        for number, line in enumerate(texts):
            (source / f"{number:03}.txt").write_text(line)
    made: list[int] = []
    document = documents._document
    monkeypatch.setattr(documents, "_document", lambda *a: made.append(a[0]) or document(*a))
    whole = windows([], 1, path=str(source), num_tokens=900)
    assert made == sorted(set(made)), "in order, none twice"
    num_read = len(made)
    for is_kept in (True, False):
        made.clear()
        if not is_kept:
            monkeypatch.setattr(corpus, "_READERS", Forgetful())
        shards = windows([], 4, path=str(source), num_tokens=900)
        assert [row["token_ids"] for row in shards] == [row["token_ids"] for row in whole]
        assert made == list(range(num_read))


class Forgetful(dict[str, Any]):
    """As if every shard were made by another process."""

    def get(self, *_: Any) -> None:
        return None


def test_shards_after_the_corpus_has_ended_are_empty(windows: Callable[..., list[Row]]) -> None:
    rows = windows([{"text": text(number)} for number in range(5)], 4, num_tokens=100_000)
    assert {row["window"] // WINDOWS_PER_TOKEN_SHARD for row in rows} == {0}
    assert {row["document"] for row in rows} == set(range(5))


def test_which_documents_are_read_does_not_depend_on_the_number_of_shards(
    windows: Callable[..., list[Row]],
) -> None:
    documents = [{"text": text(number)} for number in range(12)]
    once = {(r["document"], tuple(r["token_ids"])) for r in windows(documents, 1)}
    thrice = {(r["document"], tuple(r["token_ids"])) for r in windows(documents, 3)}
    assert once == thrice


def test_token_ids_are_windowed_as_they_are_and_without_bos_where_told(
    windows: Callable[..., list[Row]],
) -> None:
    ids = list(range(3, 43))
    rows = windows([{"ids": ids}], 1, tokens_column="ids", prepend_bos=False)
    assert [token for row in rows for token in row["token_ids"]] == ids


def test_chat_goes_through_the_subjects_template(
    windows: Callable[..., list[Row]], planted: PlantedTruth, tokenizer: SubjectTokenizer
) -> None:
    template = "{% for m in messages %}{{ m.role }} said : {{ m.content }} {% endfor %}"
    tokenizer.hf.chat_template = template
    chat = [{"role": "we", "content": text(0, 12)}, {"role": "they", "content": text(1, 12)}]
    ids = tokenizer.encode_chat(tuple(chat))
    assert ids == tokenizer.encode(f"we said : {text(0, 12)} they said : {text(1, 12)} ")


@pytest.mark.parametrize("wrong", [-1, 1_000_000])
def test_id_that_the_embedding_lacks_is_refused_by_document_and_position(
    windows: Callable[..., list[Row]], wrong: int
) -> None:
    documents = [{"ids": [3, 4, 5], "id": "a"}, {"ids": [3, 4, wrong], "id": "b"}]
    with pytest.raises(CorpusError, match=rf"position 2 of document 1 \(`b`\).*id {wrong}, .*rows"):
        windows(documents, 1, tokens_column="ids", id_column="id")


def test_token_added_to_the_tokenizer_alone_is_refused_by_its_text(
    windows: Callable[..., list[Row]], monkeypatch: pytest.MonkeyPatch, tokenizer: SubjectTokenizer
) -> None:
    tokenizer.hf.add_tokens([f"<new{i}>" for i in range(1000)])
    monkeypatch.setattr(SubjectTokenizer, "load", lambda *_, **__: tokenizer)
    with pytest.raises(CorpusError, match=r"position 2 of document 0 .*`<new999>`.*rows"):
        windows([{"text": "the a <new999>"}], 1)


def test_book_is_on_both_sides_with_a_gap_where_they_meet(
    windows: Callable[..., list[Row]],
) -> None:
    ids = random.Random(0).choices(range(3, 33), k=31 * 8 * 12)
    rows = windows([{"ids": ids}], 1, tokens_column="ids", num_tokens=10**6)
    assert {row["split"] for row in rows} == {"explain", "score"}
    sides_of: dict[str, set[str]] = {}
    for row in rows:
        sides_of.setdefault(row["document_id"], set()).add(row["split"])
    assert all(len(sides) == 1 for sides in sides_of.values())
    assert list(sides_of) == [f"0#{section}" for section in range(12)]
    counts = Counter(row["document_id"] for row in rows)
    in_order = list(sides_of.items())
    for (_, before), (name, side) in zip(in_order, in_order[1:], strict=False):
        assert counts[name] == (8 if before == side else 7), "a window is left out between sides"


def test_document_of_one_section_is_not_cut(windows: Callable[..., list[Row]]) -> None:
    ids = [3 + i % 30 for i in range(31 * 8)]
    rows = windows([{"ids": ids}], 1, tokens_column="ids")
    assert {row["document_id"] for row in rows} == {"0"}
    assert [t for row in rows for t in row["token_ids"][1:]] == ids
