"""Characters that byte-level and byte-fallback tokenizers cut into several tokens."""

import random

import pytest
from byte_tokenizers import GPT2, LLAMA
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.models.token_bytes import texts_of_parts
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.records.split_characters import CONTINUED as MARK


@pytest.mark.parametrize(
    ("tokenizer", "text", "texts"),
    [
        (GPT2, "a \U0001f600b", ["a", " \U0001f600", MARK, "b"]),
        (GPT2, "\U0001f601", ["\U0001f601", MARK, MARK, MARK]),
        (GPT2, "\u4e2d\u6587.", ["\u4e2d", f"{MARK}\u6587", MARK, MARK, "."]),
        (GPT2, "\u0645\u0631", ["\u0645", "\u0631", MARK]),
        (GPT2, "\ufffd!", ["\ufffd", MARK, MARK, "!"]),
        (GPT2, "<s>\u4e00", ["<s>", "\u4e00", MARK]),
        (LLAMA, "a \u4e2d", ["a", " ", "\u4e2d", MARK, MARK]),
        (LLAMA, "\U0001f600z", ["\U0001f600", MARK, MARK, MARK, "z"]),
        (LLAMA, "\u0645\n", ["\u0645", MARK, "\n"]),
        (LLAMA, "\ufffd a", ["\ufffd", " ", "a"]),
    ],
)
def test_character_is_whole_on_its_first_piece_and_a_mark_on_the_rest(
    tokenizer: SubjectTokenizer, text: str, texts: list[str]
) -> None:
    assert tokenizer.row_texts(tokenizer.encode(text)) == texts


@pytest.mark.parametrize(
    ("tokenizer", "alone"),
    [
        (GPT2, [" <0xF0><0x9F>", "<0x98><0x80>"]),
        (LLAMA, [" ", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]),
    ],
)
def test_piece_alone_is_its_bytes(tokenizer: SubjectTokenizer, alone: list[str]) -> None:
    ids = tokenizer.encode(" \U0001f600")
    assert tokenizer.texts(ids) == alone
    assert tokenizer.row_texts(ids[-1:]) == alone[-1:], "nothing is known of its character"
    assert tokenizer.row_texts([ids[-1], *ids[:-1]])[0] == alone[-1]


@pytest.mark.parametrize("tokenizer", [GPT2, LLAMA])
def test_row_reads_as_the_text_and_as_its_whole_characters_where_it_is_cut(
    tokenizer: SubjectTokenizer,
) -> None:
    ids = tokenizer.encode("\u4e2d ab \U0001f600")
    assert "".join(tokenizer.row_texts(ids)).replace(MARK, "") == tokenizer.decode(ids)
    assert tokenizer.row_text(ids) == "\u4e2d ab \U0001f600"
    assert tokenizer.row_text(ids[1:-1]).strip() == "ab"


@settings(max_examples=200)
@given(text=st.text(max_size=12), seed=st.integers(0, 99))
def test_any_cut_of_bytes_gives_each_character_to_the_part_where_it_begins(
    text: str, seed: int
) -> None:
    raw = text.replace(MARK, "").encode()
    draw = random.Random(seed)
    cuts = sorted({0, len(raw), *(draw.randrange(len(raw) + 1) for _ in range(6))})
    parts = [raw[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    texts = texts_of_parts(parts)
    assert "".join(texts).replace(MARK, "").encode() == raw
    for start, own in zip(cuts, texts, strict=False):
        begun = raw[:start].decode(errors="ignore").encode() == raw[:start]
        assert own.startswith(MARK) != begun or not own


def test_bytes_of_no_character_are_written_out() -> None:
    assert texts_of_parts([b"\xb8", b"\xada", b"\xe4\xb8"]) == ["<0xB8>", "<0xAD>a", "<0xE4><0xB8>"]
    assert texts_of_parts([b"\xff", b"\xed\xa0\x80"]) == ["<0xFF>", "<0xED><0xA0><0x80>"]
