"""The subject's tokenizer: text to ids without surprises, and ids to text that people can read.

Special tokens are never added behind anyone's back: BOS is an explicit decision of the caller.
A tokenizer and the embedding need not have equally many ids: vocabularies are padded, and tokens
are added to tokenizers alone.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any

from jinja2 import TemplateError
from transformers import AutoConfig, AutoTokenizer

from ray_autointerp.errors import CorpusError, SubjectError
from ray_autointerp.models.token_bytes import part_bytes, texts_of_parts

_SPACE = "\u2581"
"""What stands for a space in SentencePiece vocabularies."""

_STRUCTURAL = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id")
"""The special tokens that SAELens means by `exclude_special_tokens = True`: not a template's."""


def num_embeddings(model: str, *, revision: str | None = None) -> int:
    """Rows of the subject's embedding: ids from there on cannot be run.

    By its config, from which other weights are refused when they are loaded. Raises SubjectError
    if there is no config.
    """
    try:
        config = AutoConfig.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise SubjectError(
            f"The config of {model} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    return int(config.get_text_config().vocab_size)


class SubjectTokenizer:
    """A thin wrapper over the Hugging Face tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.hf = tokenizer
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        self.special_ids: frozenset[int] = _special_ids(tokenizer)
        """All that are marked as special, a chat template's too."""
        self.begin_ids: frozenset[int] = frozenset(
            token for token in (self.bos_id, self.eos_id) if token is not None
        )
        """Ids that stand for BOS where a window begins with one: it is never shown or counted."""
        self._text = lru_cache(maxsize=None)(self._decoded)
        self._part = lru_cache(maxsize=None)(self._part_bytes)
        self._texts_of_run = lru_cache(maxsize=100_000)(self._joined)

    @classmethod
    def load(cls, model: str, *, revision: str | None = None) -> "SubjectTokenizer":
        """By hub name or local directory. Raises SubjectError if there is none."""
        try:
            return cls(AutoTokenizer.from_pretrained(model, revision=revision))
        except (OSError, ValueError) as error:
            raise SubjectError(
                f"The tokenizer of {model} cannot be loaded: {str(error).splitlines()[0]}"
            ) from error

    @cached_property
    def num_ids(self) -> int:
        """Ids from here on have no token; an embedding may have rows for them."""
        return max(self.hf.get_vocab().values(), default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """Token ids, no special tokens added."""
        ids: list[int] = self.hf(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of messages in the subject's chat template (BOS as the template says).

        Raises CorpusError where there is no template, or it refuses the messages.
        """
        if not self.hf.chat_template:
            raise CorpusError("The subject's tokenizer has no chat template for messages_column.")
        try:
            text: str = self.hf.apply_chat_template(list(messages), tokenize=False)
        except TemplateError as error:
            raise CorpusError(
                f"The subject's chat template refuses messages of the corpus: {error}."
            ) from error
        return self.encode(text)

    def encode_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a prompt as an LLM of this tokenizer reads it, up to its answer.

        Without a chat template, contents alone, a line between them.
        """
        if not self.hf.chat_template:
            return self.encode("\n".join(message["content"] for message in messages))
        try:
            return self._prompt(messages)
        except TemplateError:  # Gemma's and others' templates know no system turn
            system, first, *rest = messages
            joined = {**first, "content": f"{system['content']}\n\n{first['content']}"}
            return self._prompt([joined, *rest])

    def excluded_ids(self, excluded: bool | Sequence[int]) -> frozenset[int]:
        """The ids that SAELens leaves out by this word: structural ones, none, or these."""
        if not isinstance(excluded, bool):
            return frozenset(excluded)
        if not excluded:
            return frozenset()
        ids = (getattr(self.hf, name, None) for name in _STRUCTURAL)
        return frozenset(token for token in ids if token is not None)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a run of tokens."""
        text: str = self.hf.decode(list(token_ids), clean_up_tokenization_spaces=False)
        return text

    def texts(self, token_ids: Iterable[int]) -> list[str]:
        """The text of each token alone, leading spaces kept; `<id 7>` for an id without token.

        A byte of a character that the token has only a part of is `<0xE4>`.
        """
        return [self._text(int(token)) for token in token_ids]

    def row_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each of consecutive tokens: a character that is split over several is whole
        in the first of them, and a mark in the rest (records/split_characters.py).
        """
        texts = self.texts(token_ids)
        for is_part, run in groupby(range(len(texts)), lambda i: self.has_part(token_ids[i])):
            if is_part:
                places = list(run)
                ids = tuple(int(token_ids[place]) for place in places)
                texts[places[0] : places[-1] + 1] = self._texts_of_run(ids)
        return texts

    def row_text(self, token_ids: Sequence[int]) -> str:
        """The text of consecutive tokens, but for characters of which only a part is in them."""
        return self.decode(token_ids).strip("\ufffd")

    def has_part(self, token: int) -> bool:
        """Whether the token begins or ends within a character."""
        return self._part(int(token)) is not None

    def digest(self) -> str:
        """Changes whenever a text could become other ids."""
        vocab = sorted(self.hf.get_vocab().items())
        probe = self.encode("The 3 quick foxes' naïve plan:\n\tjump()  over 12,345 dogs.")
        return hashlib.sha256(repr((vocab, self.bos_id, probe)).encode()).hexdigest()[:16]

    def _prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        text: str = self.hf.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )
        return self.encode(text)

    def _decoded(self, token: int) -> str:
        if token >= self.num_ids or (piece := self.hf.convert_ids_to_tokens(token)) is None:
            return f"<id {token}>"
        if piece.startswith(_SPACE):
            # SentencePiece decoders take the first space off whatever they decode.
            return str(piece.replace(_SPACE, " "))
        part = self._part(token)
        return self.decode([token]) if part is None else texts_of_parts([part])[0]

    def _part_bytes(self, token: int) -> bytes | None:
        if token >= self.num_ids or (piece := self.hf.convert_ids_to_tokens(token)) is None:
            return None
        return part_bytes(piece, self.decode([token]))

    def _joined(self, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        """The texts of consecutive tokens that all have parts of characters."""
        return tuple(texts_of_parts([self._part(token) or b"" for token in token_ids]))


def _special_ids(tokenizer: Any) -> frozenset[int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marked = {token for token, content in added.items() if content.special}
    return frozenset(tokenizer.all_special_ids) | marked
