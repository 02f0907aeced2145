"""Windows of a document's tokens, as the corpus step writes them.

Windows hold at most `window` tokens, start with one BOS where the SAE was trained so, and are not
padded. A document that begins with BOS itself (its chat template wrote it, or its text has it)
gets no second one; nor does one of token ids that begins with BOS or EOS, which then stands for BOS
in all its windows. A long document is cut into sections, which are split like documents and named
`id#0`, `id#1` ...; the first window of a section on another side than the one before is left out,
so that no text next to a boundary is on both sides.
"""

from collections.abc import Iterator, Sequence

from ray_autointerp.config import CorpusSection
from ray_autointerp.errors import CorpusError
from ray_autointerp.methods.shingle import split_of
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.documents import Document
from ray_autointerp.runs.tables import Row

_SHORTEST_TAIL = 8
"""A document's last window is dropped when shorter: too little text to read a latent in."""

_SECTION_WINDOWS = 8
"""Windows of a section. Documents up to this length are never cut. Enough that a gap of one window
costs a sixteenth of the text, few enough that a book has sections on both sides."""


def document_windows(
    document: Document, config: CorpusSection, tokenizer: SubjectTokenizer, embeddings: int
) -> Iterator[Row]:
    """The windows in order. Raises CorpusError at an id that the embedding has no row for."""
    assert config.window is not None and config.prepend_bos is not None
    token_ids = document_ids(document, tokenizer)
    _check_ids(document, token_ids, embeddings, tokenizer)
    prefix, token_ids = _begun(document, token_ids, config.prepend_bos, tokenizer)
    step = config.window - len(prefix)
    length = _SECTION_WINDOWS * step
    side_before = None
    for section in range(-(-len(token_ids) // length)):
        section_ids = token_ids[section * length : (section + 1) * length]
        side = split_of(section_ids)
        is_boundary = side_before not in (None, side)
        side_before = side
        for number, window in enumerate(_cut(section_ids, prefix, config.window)):
            if number == 0 and is_boundary:
                continue
            if len(window) - len(prefix) < _SHORTEST_TAIL and (number > 0 or section > 0):
                return
            is_cut = len(token_ids) > length
            yield {
                "document": document.index,
                "document_id": f"{document.document_id}#{section}"
                if is_cut
                else document.document_id,
                "split": side,
                "token_ids": window,
            }


def _cut(token_ids: list[int], prefix: list[int], size: int) -> Iterator[list[int]]:
    """Windows that each begin with the prefix, once: joined documents have it between them."""
    start = 0
    while start < len(token_ids):
        has_prefix = token_ids[start : start + 1] == prefix
        stop = start + size - (0 if has_prefix else len(prefix))
        yield token_ids[start:stop] if has_prefix else prefix + token_ids[start:stop]
        start = stop


def document_ids(document: Document, tokenizer: SubjectTokenizer) -> list[int]:
    """The document's token ids, with the special tokens that it has itself."""
    if document.token_ids is not None:
        return list(document.token_ids)
    if document.messages is not None:
        return tokenizer.encode_chat(document.messages)
    assert document.text is not None
    return tokenizer.encode(document.text)


def _begun(
    document: Document, token_ids: list[int], prepend_bos: bool, tokenizer: SubjectTokenizer
) -> tuple[list[int], list[int]]:
    """What each window begins with, and the document's tokens without it."""
    if not prepend_bos:
        return [], token_ids
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    stands_for_bos = bos if document.token_ids is None else tokenizer.begin_ids
    if token_ids and token_ids[0] in stands_for_bos:
        return token_ids[:1], token_ids[1:]
    return bos, token_ids


def _check_ids(
    document: Document, token_ids: Sequence[int], embeddings: int, tokenizer: SubjectTokenizer
) -> None:
    """Raise CorpusError at the first id that the embedding has no row for."""
    if not token_ids or (min(token_ids) >= 0 and max(token_ids) < embeddings):
        return
    place, token = next((p, t) for p, t in enumerate(token_ids) if not 0 <= t < embeddings)
    where = f"document {document.index} (`{document.document_id}`)"
    has = f"the subject's embedding has {embeddings} rows, for ids from 0 to {embeddings - 1}"
    if document.token_ids is not None:
        raise CorpusError(
            f"At position {place} of {where}, the corpus has the token id {token}, but {has}: give "
            "ids of the subject's own tokenizer, or text (corpus.text_column)."
        )
    (text,) = tokenizer.texts([token])
    raise CorpusError(
        f"At position {place} of {where}, the tokenizer makes `{text}` the token id {token}, but "
        f"{has}: give the tokenizer that the model was trained with, or add the missing rows to "
        "the model."
    )
