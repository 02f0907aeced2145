"""Documents out of every source a config can name: Parquet, JSONL, a folder of text, a hub dataset.

A document is text, token ids taken as they are, or chat messages. Documents are numbered in the
source's order (files sorted by name); nothing is shuffled. Knows no tokenizer.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_autointerp.config import CorpusSection
from ray_autointerp.errors import CorpusError


@dataclass(frozen=True)
class Document:
    """One document; exactly one of `text`, `token_ids` and `messages` is given."""

    index: int
    document_id: str
    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    messages: tuple[dict[str, str], ...] | None = None


@dataclass(frozen=True)
class Place:
    """Where to go on reading: after so many documents; in JSONL, after so many bytes and lines."""

    num_documents: int = 0
    offset: int = 0
    num_lines: int = 0

    def __str__(self) -> str:
        """For a file's metadata; `Place.parse` reads it back."""
        return f"{self.num_documents}:{self.offset}:{self.num_lines}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """The place that `str` gave."""
        return cls(*map(int, text.split(":")))


class DocumentReader:
    """Documents in order, streamed, from a place on; `place` is where the next one begins."""

    def __init__(self, corpus: CorpusSection, place: Place) -> None:
        """Raises CorpusError: missing, unreadable, no such column."""
        self.place = place
        self._corpus = corpus
        self._rows = _rows_from(corpus, place)

    def __iter__(self) -> Iterator[Document]:
        """The rest of the documents. Asked again, it goes on where it stopped."""
        for row, offset, num_lines in self._rows:
            index = self.place.num_documents
            self.place = Place(index + 1, offset, num_lines)
            yield _document(index, row, self._corpus)


def read_documents(corpus: CorpusSection) -> Iterator[Document]:
    """All documents in order, streamed. Raises CorpusError: missing, unreadable, no such column."""
    yield from DocumentReader(corpus, Place())


def _rows_from(corpus: CorpusSection, place: Place) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Rows with the bytes and lines up to the end of each, which are 0 but for JSONL."""
    if corpus.dataset is not None:
        rows = _dataset_rows(corpus, place.num_documents)
    else:
        assert corpus.path is not None
        path = Path(corpus.path)
        if not path.exists():
            raise CorpusError(f"The corpus {path} does not exist; set corpus.path.")
        if path.is_dir():
            rows = _folder_rows(path, corpus, place.num_documents)
        elif path.suffix in (".parquet", ".pq"):
            rows = _parquet_rows(path, corpus, place.num_documents)
        elif path.suffix in (".jsonl", ".ndjson", ".json"):
            yield from _jsonl_rows(path, place)
            return
        else:
            raise CorpusError(
                f"The corpus {path} is neither Parquet (.parquet), JSONL (.jsonl) nor a folder."
            )
    for row in rows:
        yield row, 0, 0


def content_column(corpus: CorpusSection) -> str:
    """The column that documents are read from."""
    return corpus.tokens_column or corpus.messages_column or corpus.text_column


def _document(index: int, row: dict[str, Any], corpus: CorpusSection) -> Document:
    column = content_column(corpus)
    if column not in row:
        raise CorpusError(
            f"The corpus has no column `{column}` (document {index}); it has: "
            f"{', '.join(sorted(row))}."
        )
    if corpus.id_column and corpus.id_column not in row:
        raise CorpusError(
            f"The corpus has no column `{corpus.id_column}`, which corpus.id_column names; it "
            f"has: {', '.join(sorted(row))}."
        )
    content = row[column]
    name = str(row.get(corpus.id_column or "", index))
    try:
        if corpus.tokens_column:
            token_ids = tuple(_token_id(token, place) for place, token in enumerate(content))
            return Document(index, name, token_ids=token_ids)
        if corpus.messages_column:
            messages = tuple(
                {"role": str(m["role"]), "content": str(m["content"])} for m in content
            )
            return Document(index, name, messages=messages)
    except (TypeError, ValueError, KeyError) as error:
        raise CorpusError(
            f"Document {index} of the corpus cannot be read from column `{column}`: {error}."
        ) from error
    return Document(index, name, text="" if content is None else str(content))


def _token_id(token: Any, place: int) -> int:
    """A whole number as an int; columns that once held nulls have theirs as floats."""
    is_number = isinstance(token, int | float) and not isinstance(token, bool)
    if not is_number or token != token // 1:
        raise ValueError(f"position {place} has {token!r}, and a token id is a whole number")
    return int(token)


def _parquet_rows(path: Path, corpus: CorpusSection, skip: int) -> Iterator[dict[str, Any]]:
    wanted = {content_column(corpus), corpus.id_column}
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        # All columns where one is missing, so that the refusal can list them.
        columns = [name for name in names if name in wanted] if wanted <= {*names, None} else names
        groups = list(range(file.num_row_groups))
        while groups and file.metadata.row_group(groups[0]).num_rows <= skip:
            skip -= file.metadata.row_group(groups.pop(0)).num_rows
        for batch in file.iter_batches(batch_size=256, columns=columns, row_groups=groups):
            yield from batch.slice(min(skip, len(batch))).to_pylist()
            skip = max(0, skip - len(batch))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(f"The corpus {path} is not readable Parquet: {error}.") from error


def _jsonl_rows(path: Path, place: Place) -> Iterator[tuple[dict[str, Any], int, int]]:
    offset = place.offset
    with path.open("rb") as lines:
        lines.seek(offset)
        for number, line in enumerate(lines, start=place.num_lines + 1):
            offset += len(line)
            where = f"Line {number} of {path}"
            try:
                # Editors that write a byte order mark put it before the first line.
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                row = json.loads(text)
            except UnicodeDecodeError as error:
                raise CorpusError(f"{where} is not UTF-8: {error}.") from error
            except ValueError as error:
                raise CorpusError(f"{where} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise CorpusError(f"{where} is not a JSON object.")
            yield row, offset, number


def _folder_rows(path: Path, corpus: CorpusSection, skip: int) -> Iterator[dict[str, Any]]:
    for file in sorted(path.rglob("*.txt"))[skip:]:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"{file} is not readable UTF-8 text: {error}.") from error
        name = str(file.relative_to(path))
        yield {corpus.text_column: text, corpus.id_column or "": name, "": name}


def _dataset_rows(corpus: CorpusSection, skip: int) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset  # a slow import that local corpora do not need

    try:
        yield from load_dataset(
            corpus.dataset,
            corpus.dataset_config,
            split=corpus.dataset_split,
            streaming=True,
        ).skip(skip)
    except (OSError, ValueError, ConnectionError) as error:
        raise CorpusError(
            f"The dataset {corpus.dataset} cannot be streamed: {str(error).splitlines()[0]}"
        ) from error
