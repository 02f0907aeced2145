"""The corpus's first window, made from the tokenizer and the first documents alone."""

import itertools
from dataclasses import replace

from ray_autointerp.config import Config, CorpusSection
from ray_autointerp.errors import CorpusError
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.document_windows import document_windows
from ray_autointerp.passes.documents import content_column, read_documents
from ray_autointerp.plan.first_window import FirstWindow, WindowToken
from ray_autointerp.records.split_characters import without_marks

_DOCUMENTS = 100
"""Looked at for one with a window."""

_CHARACTERS = 20_000
"""Tokenized of a document: its first window has fewer."""


def first_window(config: Config, embeddings: int) -> FirstWindow:
    """For a config that `check` completed; the subject's embedding has so many rows.

    Raises CorpusError where no document has a window, or an id of one has no row.
    """
    corpus, subject = config.corpus, config.subject
    tokenizer = SubjectTokenizer.load(subject.model, revision=subject.revision)
    excluded = corpus.exclude_special_tokens
    excluded_ids = tokenizer.excluded_ids(True if excluded is None else excluded)
    for document in itertools.islice(read_documents(corpus), _DOCUMENTS):
        if document.text is not None:
            document = replace(document, text=document.text[:_CHARACTERS])
        row = next(document_windows(document, corpus, tokenizer, embeddings), None)
        if row is None:
            continue
        ids: list[int] = row["token_ids"]
        texts = tokenizer.row_texts(ids)
        tokens = (
            WindowToken(
                without_marks(text),
                token in tokenizer.special_ids,
                token not in excluded_ids and not (place == 0 and token in tokenizer.begin_ids),
            )
            for place, (token, text) in enumerate(zip(ids, texts, strict=True))
        )
        return FirstWindow(document.document_id, _source(corpus), tuple(tokens))
    raise CorpusError(f"The corpus holds no text in its first {_DOCUMENTS} documents.")


def _source(corpus: CorpusSection) -> str:
    column = content_column(corpus)
    if corpus.tokens_column:
        return f"token ids of column {column}, decoded"
    if corpus.messages_column:
        return f"messages of column {column} in the chat template"
    return f"column {column}"
