"""corpus: documents to windows of tokens, each document on one side of the split.

Documents are taken in order until `num_tokens` are reached. Each token shard goes on where the one
before ended, so that the source is read once, and no document is in two shards. Windows never cross
documents, hold at most `window` tokens, start with BOS where the SAE was trained so, and are not
padded. Documents, not windows, are split into explain and score (architecture, section 3). A long
document is cut into sections, which are split like documents and named `id#0`, `id#1` ...; the
first window of a section on another side than the one before is left out, so that no text next to
a boundary is on both sides.
"""

from collections.abc import Iterator

from ray_autointerp.errors import CorpusError
from ray_autointerp.methods.shingle import split_of
from ray_autointerp.models.tokenizer import num_embeddings
from ray_autointerp.passes.documents import Document, DocumentReader, Place
from ray_autointerp.records.keys import window_id
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_SHORTEST_TAIL = 8
"""A document's last window is dropped when shorter: too little text to read a latent in."""

_SECTION_WINDOWS = 8
"""Windows of a section. Documents up to this length are never cut. Enough that a gap of one window
costs a sixteenth of the text, few enough that a book has sections on both sides."""


_ROW_GROUP = 4_096
"""Windows of one row group: whoever needs a few windows reads no more than these."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one token shard of `tokens`."""
    config = context.run.config.corpus
    place, num_before = _end_of(task.shard - 1, context) if task.shard else (Place(), 0)
    share = -(-config.num_tokens // task.num_shards)
    wanted = min(config.num_tokens, (task.shard + 1) * share) - num_before
    subject = context.run.config.subject
    embeddings = num_embeddings(subject.model, revision=subject.revision)
    rows: list[Row] = []
    num_tokens = 0
    reader = _reader(place, context)
    documents = iter(reader)
    while num_tokens < wanted and (document := next(documents, None)) is not None:
        for row in _windows(document, context, embeddings):
            num_tokens += len(row["token_ids"])
            rows.append({"window": window_id(task.shard, len(rows)), **row})
    end = {"num_tokens": str(num_before + num_tokens), "place": str(reader.place)}
    groups = [len(rows[i : i + _ROW_GROUP]) for i in range(0, max(1, len(rows)), _ROW_GROUP)]
    context.write(task, "tokens", rows, metadata=end, row_groups=groups)


_READERS: dict[str, DocumentReader] = {}
"""The last reader of this process, by run: the next shard goes on with it."""


def _reader(place: Place, context: WorkerContext) -> DocumentReader:
    """A reader at the place: the one that is open there, else a new one."""
    kept = _READERS.get(context.run.uri)
    if kept is None or kept.place != place:
        kept = DocumentReader(context.run.config.corpus, place)
    _READERS.clear()
    _READERS[context.run.uri] = kept
    return kept


def _end_of(shard: int, context: WorkerContext) -> tuple[Place, int]:
    """Where a token shard ended, and the tokens of all shards up to there."""
    end = context.tables.metadata("tokens", None, shard)
    return Place.parse(end["place"]), int(end["num_tokens"])


def _windows(document: Document, context: WorkerContext, embeddings: int) -> Iterator[Row]:
    config, tokenizer = context.run.config.corpus, context.tokenizer
    assert config.window is not None and config.prepend_bos is not None
    token_ids = _token_ids(document, context)
    prefix = [tokenizer.bos_id] if config.prepend_bos and tokenizer.bos_id is not None else []
    _check_ids(document, token_ids, embeddings, context)
    step = config.window - len(prefix)
    length = _SECTION_WINDOWS * step
    side_before = None
    for section in range(-(-len(token_ids) // length)):
        section_ids = token_ids[section * length : (section + 1) * length]
        side = split_of(section_ids)
        is_boundary = side_before not in (None, side)
        side_before = side
        for start in range(step if is_boundary else 0, len(section_ids), step):
            piece = section_ids[start : start + step]
            if len(piece) < _SHORTEST_TAIL and (start > 0 or section > 0):
                return
            is_cut = len(token_ids) > length
            yield {
                "document": document.index,
                "document_id": f"{document.document_id}#{section}"
                if is_cut
                else document.document_id,
                "split": side,
                "token_ids": prefix + piece,
            }


def _check_ids(
    document: Document, token_ids: list[int], embeddings: int, context: WorkerContext
) -> None:
    """Raise CorpusError at the first id that the embedding has no row for."""
    if not token_ids or (min(token_ids) >= 0 and max(token_ids) < embeddings):
        return
    place, token = next((p, t) for p, t in enumerate(token_ids) if not 0 <= t < embeddings)
    model = context.run.config.subject.model
    where = f"document {document.index} (`{document.document_id}`)"
    has = f"the embedding of {model} has {embeddings} rows, for ids from 0 to {embeddings - 1}"
    if document.token_ids is not None:
        raise CorpusError(
            f"At position {place} of {where}, the corpus has the token id {token}, but {has}: give "
            "ids of the subject's own tokenizer, or text (corpus.text_column)."
        )
    (text,) = context.tokenizer.texts([token])
    raise CorpusError(
        f"At position {place} of {where}, the tokenizer makes `{text}` the token id {token}, but "
        f"{has}: give the tokenizer that the model was trained with, or add the missing rows to "
        "the model."
    )


def _token_ids(document: Document, context: WorkerContext) -> list[int]:
    if document.token_ids is not None:
        return list(document.token_ids)
    if document.messages is not None:
        return context.tokenizer.encode_chat(document.messages)
    assert document.text is not None
    return context.tokenizer.encode(document.text)
