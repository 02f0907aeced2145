"""corpus: documents to windows of tokens, each document on one side of the split.

A token shard takes every n-th document until it holds its share of `num_tokens`, so shards need
nothing of each other and the result does not depend on who tokenizes what. Windows never cross
documents, hold at most `window` tokens, start with BOS where the SAE was trained so, and are not
padded. Documents, not windows, are split into explain and score (architecture, section 3).
"""

from collections.abc import Iterator

from ray_autointerp.methods.shingle import split_of
from ray_autointerp.passes.documents import Document, read_documents
from ray_autointerp.records.keys import window_id
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_SHORTEST_TAIL = 8
"""A document's last window is dropped when shorter: too little text to read a latent in."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one token shard of `tokens`."""
    config = context.run.config.corpus
    budget = -(-config.num_tokens // task.num_shards)
    rows: list[Row] = []
    num_tokens = 0
    for document in read_documents(config):
        if document.index % task.num_shards != task.shard:
            continue
        if num_tokens >= budget:
            break
        for row in _windows(document, context):
            num_tokens += len(row["token_ids"])
            rows.append({"window": window_id(task.shard, len(rows)), **row})
    context.write(task, "tokens", rows, metadata={"num_tokens": str(num_tokens)})


def _windows(document: Document, context: WorkerContext) -> Iterator[Row]:
    config, tokenizer = context.run.config.corpus, context.tokenizer
    assert config.window is not None and config.prepend_bos is not None
    token_ids = _token_ids(document, context)
    side = split_of(token_ids) if token_ids else "explain"
    prefix = [tokenizer.bos_id] if config.prepend_bos and tokenizer.bos_id is not None else []
    step = config.window - len(prefix)
    for start in range(0, len(token_ids), step):
        piece = token_ids[start : start + step]
        if len(piece) < _SHORTEST_TAIL and start > 0:
            return
        yield {
            "document": document.index,
            "document_id": document.document_id,
            "split": side,
            "token_ids": prefix + piece,
        }


def _token_ids(document: Document, context: WorkerContext) -> list[int]:
    if document.token_ids is not None:
        return list(document.token_ids)
    if document.messages is not None:
        return context.tokenizer.encode_chat(document.messages)
    assert document.text is not None
    return context.tokenizer.encode(document.text)
