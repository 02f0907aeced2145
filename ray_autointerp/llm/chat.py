"""Messages to token ids by the model's own chat template, and choices to their first tokens."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ray_autointerp.errors import LLMError
from ray_autointerp.llm.client import Request

_CHOICES_HELD = 64
THINKING_OFF: Mapping[str, Any] = {"enable_thinking": False}
"""The switch that templates of thinking models have, such as Qwen3's."""


class Chat:
    """The tokenizer of an instruct model. One thread at a time: fast tokenizers are not shared."""

    def __init__(
        self, tokenizer: Any, model: str, template_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """`template_kwargs` are passed to the chat template; thinking is off unless they say so."""
        self._tokenizer = tokenizer
        self._model = model
        # A template, several by name, or none.
        template = str(getattr(tokenizer, "chat_template", None))
        switches = {name: value for name, value in THINKING_OFF.items() if name in template}
        self._template_kwargs = {**switches, **(template_kwargs or {})}
        self.choice_tokens = lru_cache(_CHOICES_HELD)(self._choice_tokens)
        """As `_choice_tokens`, remembered for the few tuples of choices that judges use."""

    def token_ids(self, request: Request) -> list[int]:
        """The request's prompt, up to where the answer begins. Raises LLMError."""
        from jinja2 import TemplateError

        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        try:
            return self._template(messages)
        except TemplateError:  # Gemma's and others' templates know no system turn
            if len(messages) < 2 or messages[0]["role"] != "system":
                raise
            system, first, *rest = messages
            joined = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
            return self._template([joined, *rest])

    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of a given answer, which follow the prompt's: encoded by itself, as what comes
        before belongs to the template, and without the token that would end it.
        """
        return list(self._tokenizer.encode(answer, add_special_tokens=False))

    def _template(self, messages: list[dict[str, str]]) -> list[int]:
        try:
            ids = self._tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                **self._template_kwargs,
            )
        except ValueError as error:
            raise LLMError(
                f"{self._model} has no chat template: set llm.model to an instruct model."
            ) from error
        return list(ids)

    def _choice_tokens(self, choices: tuple[str, ...]) -> Mapping[str, int]:
        tokens = {c: self._tokenizer.encode(c, add_special_tokens=False)[0] for c in choices}
        if len(set(tokens.values())) < len(choices):
            raise LLMError(
                f"The tokenizer of {self._model} begins several of the answers "
                f"{', '.join(choices)} with one token: it cannot be the judge."
            )
        return tokens
