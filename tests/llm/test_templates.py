"""Chat templates that differ: without a system turn, and without any template."""

import pytest
from jinja2 import TemplateError
from tokenizers import Tokenizer as Tokenizers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from ray_autointerp.errors import LLMError
from ray_autointerp.llm.chat import Chat
from ray_autointerp.llm.client import Request
from ray_autointerp.prompts.message import Message


class Tokenizer:
    """As Gemma's: its template refuses a system turn."""

    def __init__(self, *, has_template: bool) -> None:
        self.has_template = has_template
        self.chat_template = "{{ messages }}" if has_template else None
        self.seen: list[list[dict[str, str]]] = []

    def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> list[int]:
        if not self.has_template:
            raise ValueError("tokenizer.chat_template is not set")
        if messages[0]["role"] == "system":
            raise TemplateError("System role not supported")
        self.seen.append(messages)
        return [1, 2]


def rendered(tokenizer: Tokenizer, *messages: Message) -> list[int]:
    return Chat(tokenizer, "some/model").token_ids(Request(messages, max_tokens=1))


def test_system_turn_joins_the_first_where_the_template_knows_none() -> None:
    tokenizer = Tokenizer(has_template=True)
    turns = (Message("user", "first"), Message("assistant", "yes"), Message("user", "last"))
    assert rendered(tokenizer, Message("system", "told"), *turns) == [1, 2]
    (seen,) = tokenizer.seen
    assert [turn["content"] for turn in seen] == ["told\n\nfirst", "yes", "last"]
    assert [turn["role"] for turn in seen] == ["user", "assistant", "user"]


def test_model_without_a_template_is_told_what_to_set() -> None:
    with pytest.raises(LLMError, match=r"no chat template: set llm\.model to an instruct model"):
        rendered(Tokenizer(has_template=False), Message("user", "x"))


THINKING = (
    "{% for m in messages %}{{ m.content }} {% endfor %}"
    "{% if enable_thinking is not defined or enable_thinking %}think{% else %}answer{% endif %}"
)


def ends_of(template: str | dict[str, str], **template_kwargs: object) -> str:
    """The last word of a prompt by a real tokenizer with this template."""
    words = ["hello", "think", "answer", "[UNK]"]
    inner = Tokenizers(WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template)
    request = Request((Message("user", "hello"),), max_tokens=1)
    return words[Chat(tokenizer, "some/model", template_kwargs).token_ids(request)[-1]]


def test_thinking_is_off_where_the_template_has_the_switch() -> None:
    assert ends_of(THINKING) == "answer"
    assert ends_of({"default": THINKING}) == "answer"
    assert ends_of(THINKING, enable_thinking=True) == "think"


def test_template_arguments_of_the_config_reach_any_template() -> None:
    template = "{% if effort is defined %}think{% else %}hello{% endif %}"
    assert ends_of(template) == "hello"
    assert ends_of(template, effort="low") == "think"
