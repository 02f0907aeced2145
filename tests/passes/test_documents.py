"""Documents of every kind of source: all of them, in order, with their names, or one sentence."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.config import CorpusSection
from ray_autointerp.errors import CorpusError
from ray_autointerp.passes.documents import Document, read_documents

ROWS = [{"id": "a", "text": "first one"}, {"id": "b", "text": "zweites"}, {"id": "c", "text": ""}]
MESSAGES = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]]


def section(path: Path, **columns: Any) -> CorpusSection:
    return CorpusSection(path=str(path), **columns)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl"])
def test_rows_of_a_file_are_documents_in_order(tmp_path: Path, name: str) -> None:
    documents = read_documents(section(write(tmp_path / name, ROWS), id_column="id"))
    assert list(documents) == [
        Document(0, "a", text="first one"),
        Document(1, "b", text="zweites"),
        Document(2, "c", text=""),
    ]


def test_document_without_a_name_is_named_by_its_place(tmp_path: Path) -> None:
    documents = read_documents(section(write(tmp_path / "x.jsonl", ROWS)))
    assert [document.document_id for document in documents] == ["0", "1", "2"]


def test_folder_is_its_text_files_at_any_depth_by_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("deep")
    (tmp_path / "a.txt").write_text("Größe", encoding="utf-8")
    (tmp_path / "ignored.md").write_text("no")
    for columns in ({}, {"id_column": "id"}):
        documents = list(read_documents(section(tmp_path, **columns)))
        assert [(d.text) for d in documents] == ["Größe", "deep"]
    assert [d.document_id for d in documents] == ["a.txt", "b/x.txt"]


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl"])
def test_token_ids_and_messages_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    (document,) = read_documents(
        section(write(tmp_path / name, [{"ids": [3, 1, 2]}]), tokens_column="ids")
    )
    assert document.token_ids == (3, 1, 2)
    (document,) = read_documents(
        section(write(tmp_path / name, [{"chat": MESSAGES[0]}]), messages_column="chat")
    )
    assert document.messages == tuple(MESSAGES[0])


def test_whole_numbers_that_are_stored_as_floats_are_token_ids(tmp_path: Path) -> None:
    """As a column of integers becomes on its way through a table with nulls."""
    rows = [{"ids": [3.0, 1.0]}]
    (document,) = read_documents(section(write(tmp_path / "x.parquet", rows), tokens_column="ids"))
    assert document.token_ids == (3, 1)
    assert all(isinstance(token, int) for token in document.token_ids)


def test_streamed_dataset_is_read_like_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset's name goes to `datasets` as it is; a local directory is a name it knows."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "hub"
    folder.mkdir()
    write(folder / "train.jsonl", ROWS)
    documents = read_documents(CorpusSection(dataset=str(folder), id_column="id"))
    assert [(d.document_id, d.text) for d in documents] == [(r["id"], r["text"]) for r in ROWS]


def test_dataset_that_cannot_be_had_is_one_sentence() -> None:
    with pytest.raises(CorpusError, match=r"dataset nobody/nothing cannot be streamed"):
        list(read_documents(CorpusSection(dataset="nobody/nothing")))


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([{"txt": "a"}], {}, "no column `text`.*it has: txt"),
        *(
            (
                [{"ids": [3, 4]}, {"ids": [3, 4, wrong]}],
                {"tokens_column": "ids"},
                f"Document 1.*column `ids`: position 2 has {wrong!r}, and a token id is a whole",
            )
            for wrong in (1.5, "a", "12", None, True, float("inf"), float("nan"))
        ),
        ([{"ids": 7}], {"tokens_column": "ids"}, "Document 0.*column `ids`"),
        ([{"chat": [{"role": "user"}]}], {"messages_column": "chat"}, "Document 0.*column `chat`"),
    ],
)
def test_row_that_is_no_document_is_named(
    tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, str], said: str
) -> None:
    with pytest.raises(CorpusError, match=said):
        list(read_documents(section(write(tmp_path / "x.jsonl", rows), **columns)))


@given(st.lists(st.text(), max_size=5))
def test_any_text_survives_jsonl(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    file = tmp_path_factory.mktemp("any") / "x.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    assert [document.text for document in read_documents(section(file))] == texts


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Editors on Windows write one; it belongs to neither the first row nor a file's text."""
    mark = b"\xef\xbb\xbf"
    for name, first in (("x.jsonl", b""), ("blank.jsonl", b"\n")):
        (tmp_path / name).write_bytes(mark + first + b'{"text": "one"}\n{"text": "two"}\n')
        texts = [document.text for document in read_documents(section(tmp_path / name))]
        assert texts == ["one", "two"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_bytes(mark + b"plain")
    (document,) = read_documents(section(tmp_path / "folder"))
    assert document.text == "plain"
