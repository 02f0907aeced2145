"""One BOS for each window, whoever writes it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from byte_tokenizers import GPT2, LLAMA
from sae_lens.tokenization_and_batching import (
    concat_and_batch_sequences,
    tokenize_with_chat_template,
)

from ray_autointerp.config import CorpusSection
from ray_autointerp.errors import CorpusError
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.document_windows import document_windows
from ray_autointerp.passes.documents import Document

WITH_BOS = "<s>{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"
"""As Llama 3's: the template writes BOS."""
WITHOUT_BOS = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"
CHAT = ({"role": "user", "content": "what is it like there"}, {"role": "user", "content": "warm"})
BOS, EOS = GPT2.bos_id, GPT2.eos_id
assert BOS is not None and EOS is not None


@pytest.fixture
def templated() -> Callable[[str], SubjectTokenizer]:
    def make(template: str) -> SubjectTokenizer:
        tokenizer = SubjectTokenizer(deepcopy(GPT2.hf))
        tokenizer.hf.chat_template = template
        return tokenizer

    return make


def windows(
    tokenizer: SubjectTokenizer, prepend_bos: bool = True, window: int = 16, **content: Any
) -> list[list[int]]:
    corpus = CorpusSection(path="x", window=window, prepend_bos=prepend_bos)
    made = document_windows(Document(0, "0", **content), corpus, tokenizer, 10_000)
    return [row["token_ids"] for row in made]


@pytest.mark.parametrize("template", [WITH_BOS, WITHOUT_BOS])
@pytest.mark.parametrize("prepend_bos", [True, False])
def test_windows_of_a_chat_are_those_of_saelens_training(
    templated: Callable[[str], SubjectTokenizer], template: str, prepend_bos: bool
) -> None:
    tokenizer = templated(template)
    ids = tokenize_with_chat_template(list(CHAT), tokenizer.hf)
    theirs = concat_and_batch_sequences(
        iter([ids]), 16, begin_batch_token_id=BOS if prepend_bos else None
    )
    ours = windows(tokenizer, prepend_bos, messages=CHAT)
    assert [own for own in ours if len(own) == 16] == [own.tolist() for own in theirs]
    assert all(own.count(BOS) == 1 for own in ours) or not prepend_bos
    template_writes = template is WITH_BOS
    assert ours[0].count(BOS) == int(prepend_bos or template_writes)


@pytest.mark.parametrize("tokenizer", [GPT2, LLAMA])
def test_bos_that_a_plain_corpus_wrote_as_text_is_the_only_one(
    tokenizer: SubjectTokenizer,
) -> None:
    told = windows(tokenizer, text="<s>once upon a time")
    assert told == windows(tokenizer, text="once upon a time")
    assert [own.count(tokenizer.bos_id or 0) for own in told] == [1] * len(told)


@pytest.mark.parametrize("first", [BOS, EOS])
def test_row_of_token_ids_of_the_windows_length_is_one_window(first: int) -> None:
    """EOS stands for BOS in corpora that were tokenized with it."""
    row = (first, *range(15))
    assert windows(GPT2, token_ids=row) == [list(row)]
    assert windows(GPT2, False, token_ids=row) == [list(row)]
    assert windows(GPT2, token_ids=row * 2) == [list(row)] * 2, "also where rows were joined"


def test_eos_before_a_text_is_not_bos() -> None:
    (own,) = windows(GPT2, text="</s>house")
    assert own[:2] == [BOS, EOS]


def test_messages_that_the_template_refuses_are_told(
    templated: Callable[[str], SubjectTokenizer],
) -> None:
    tokenizer = templated("{{ raise_exception('no system turn') }}")
    with pytest.raises(CorpusError, match="refuses messages of the corpus: no system turn"):
        windows(tokenizer, messages=CHAT)


def test_document_of_bos_alone_has_no_window() -> None:
    assert windows(GPT2, text="<s>") == []
