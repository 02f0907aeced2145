"""Chat templates that differ: without a system turn, and without any template."""

import pytest
from jinja2 import TemplateError

from ray_autointerp.errors import LLMError
from ray_autointerp.llm.chat import Chat
from ray_autointerp.llm.client import Request
from ray_autointerp.prompts.message import Message


class Tokenizer:
    """As Gemma's: its template refuses a system turn."""

    def __init__(self, *, has_template: bool) -> None:
        self.has_template = has_template
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
