"""corpus: documents to windows of tokens, each document on one side of the split.

Documents are taken in order until `num_tokens` are reached. Each token shard goes on where the one
before ended, so that the source is read once, and no document is in two shards. Windows never cross
documents (passes/document_windows.py). Documents, not windows, are split into explain and score
(architecture, section 3).
"""

from ray_autointerp.models.tokenizer import num_embeddings
from ray_autointerp.passes.document_windows import document_windows
from ray_autointerp.passes.documents import DocumentReader, Place
from ray_autointerp.records.keys import window_id
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

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
    tokenizer = context.tokenizer
    rows: list[Row] = []
    num_tokens = 0
    reader = _reader(place, context)
    documents = iter(reader)
    while num_tokens < wanted and (document := next(documents, None)) is not None:
        for row in document_windows(document, config, tokenizer, embeddings):
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
