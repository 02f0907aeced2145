"""Evidence that looks like a latent's, drawn from the config's own corpus before anything is run.

Real prompts are as long as real documents and real tokens make them, so lengths are counted on
these, not guessed. What only a run can measure is a constant here, with its reason.
"""

import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ray_autointerp.config import Config
from ray_autointerp.errors import CorpusError
from ray_autointerp.methods.keywords import (
    FiredToken,
    Keywords,
    fired_words,
    keywords,
    promoted_words,
)
from ray_autointerp.passes.documents import Document, read_documents
from ray_autointerp.plan.controls import method_of
from ray_autointerp.plan.evidence import explainer_of
from ray_autointerp.prompts import ensemble, named_keywords, structured
from ray_autointerp.prompts.max_act import marked
from ray_autointerp.prompts.neutral import NEUTRAL_PROMPTS
from ray_autointerp.prompts.shown import Rows, Shown
from ray_autointerp.prompts.text import WORKED_CAP, few_shots, worked_examples
from ray_autointerp.records.keys import derive_seed

if TYPE_CHECKING:
    from ray_autointerp.models.tokenizer import SubjectTokenizer

_DOCUMENTS = 100
"""Read from the corpus's beginning."""

_CHARACTERS = 20_000
"""Of each document: books are not tokenized whole to cut a dozen excerpts."""

_ACTIVE_TOKENS = 2
"""Active tokens of a top example, the peak among them; each is listed under the text. Over all
latents of the demo's SAE the mean is 2.2, and half of the examples have one."""

_FIRED_EXAMPLES = 20
"""Top examples behind a description by keywords."""

_WORDS_PER_SENTENCE = 13
"""Of an answer's sentences; the worked examples have 8, and the demo's LLM writes 12.5."""


_EXPLAIN = {"split": "explain", "status": "ok"}


class SamplePrompts:
    """What prompts may show of latents that no run has watched yet; the same for equal indices."""

    def __init__(self, config: Config, tokenizer: "SubjectTokenizer") -> None:
        """Reads the corpus's beginning. Raises CorpusError if it holds no text."""
        self._config = config
        self._tokenizer = tokenizer
        documents = itertools.islice(read_documents(config.corpus), _DOCUMENTS)
        texts = [self._token_ids(document) for document in documents]
        self._documents = [token_ids for token_ids in texts if token_ids]
        if not self._documents:
            raise CorpusError(f"The corpus holds no text in its first {_DOCUMENTS} documents.")
        kinds = sorted({token for ids in self._documents for token in ids})
        self._vocabulary = [token for token in kinds if token not in tokenizer.special_ids]

    def evidence(self, index: int) -> tuple[Rows, Shown]:
        """All evidence of the `index`-th sample evidence, as much as prompts show."""
        config, draw = self._config, self._draw("evidence", index)
        shown = config.describe.num_tokens_shown
        examples = min(config.describe.num_examples, config.evidence.num_top_examples)
        projected = min(shown, config.evidence.num_vocab_tokens)
        changed = min(shown, config.evidence.num_changed_tokens)
        top = {"examples": [self._example(draw) for _ in range(examples)], **_EXPLAIN}
        quoted = self._keywords(index)
        rows = {
            "top_examples": [top],
            "vocab_proj": [self._lists(draw, projected)],
            "token_change": [{"sign": sign, **self._lists(draw, changed)} for sign in (1, -1)],
            "jacobian_proj": [self._lists(draw, changed)],
            "descriptions/keywords": [
                {"status": "ok", "trigger": quoted.fires_on, "promotes": quoted.promotes}
            ],
        }
        for method in ensemble.SINGLE_ORDER:
            text = described(method, config.describe.cap_words, index)
            rows[f"descriptions/{method}"] = [{"status": "ok", "description": text}]
        return rows, Shown(examples, shown, 1.0)

    def description(self, method: str, index: int) -> str:
        """About as long as a description by this method."""
        cap, method = self._config.describe.cap_words, method_of(method)
        if method == "keywords":
            return " ".join(str(self._keywords(index)).split()[:cap])
        if method == "named_keywords":
            keywords = named_keywords.Keywords(**asdict(self._keywords(index)))
            return named_keywords.described(described(method, cap, index), keywords, cap)
        if method == "name":
            return described("named_keywords", cap, index)
        text = explainer_of(method).text
        if text is not None:
            return described(text, cap, index)
        part_cap = ensemble.part_cap(cap) if explainer_of(method).parts else cap
        return "\n".join(described(part, part_cap, index) for part in ensemble.SINGLE_ORDER)

    def excerpt(self, index: int) -> str:
        """A held-out text of detection."""
        size = self._config.evidence.excerpt_tokens
        return self._tokenizer.row_text(self._piece(self._draw("excerpt", index), size))

    def marked_excerpt(self, index: int) -> str:
        """A held-out text of fuzzing, half as long, with a token marked."""
        draw = self._draw("marked excerpt", index)
        piece = self._piece(draw, self._config.evidence.excerpt_tokens // 2)
        texts = self._tokenizer.row_texts(piece)
        place = draw.randrange(len(texts))
        return marked(texts, [int(number == place) for number in range(len(texts))])

    def steered(self, prompt: int, index: int) -> str:
        """A text of the length that steering generates after a neutral prompt."""
        size = self._config.steering.new_tokens
        piece = self._piece(self._draw("steered", prompt, index), size)
        begun = self._tokenizer.encode(NEUTRAL_PROMPTS[prompt])
        return self._tokenizer.decode([*begun, *piece])

    def tokens(self, index: int, number: int) -> tuple[str, ...]:
        """The `index`-th sample list of so many tokens."""
        return self._tokens(self._draw("tokens", index), number)

    def _token_ids(self, document: Document) -> list[int]:
        if document.token_ids is not None:
            return list(document.token_ids[:_CHARACTERS])
        if document.messages is not None:
            return self._tokenizer.encode_chat(document.messages)
        return self._tokenizer.encode((document.text or "")[:_CHARACTERS])

    def _draw(self, *purpose: str | int) -> random.Random:
        return random.Random(derive_seed(self._config.run.seed, "forecast", *purpose))

    def _piece(self, draw: random.Random, size: int) -> list[int]:
        """Neighbouring tokens; every token of the documents is as likely to be the first."""
        lengths = [len(token_ids) for token_ids in self._documents]
        (token_ids,) = draw.choices(self._documents, lengths)
        start = draw.randrange(max(1, len(token_ids) - size + 1))
        return token_ids[start : start + size]

    def _lists(self, draw: random.Random, number: int) -> dict[str, Any]:
        sides = {
            side: [{"text": text, "logit": 1.0} for text in self._tokens(draw, number)]
            for side in ("promoted", "suppressed")
        }
        return {"status": "ok", **sides}

    def _example(self, draw: random.Random) -> dict[str, Sequence[object]]:
        window = self._config.corpus.window or self._config.evidence.excerpt_tokens
        piece = self._piece(draw, min(self._config.evidence.excerpt_tokens, window))
        active = set(draw.sample(range(len(piece)), min(_ACTIVE_TOKENS, len(piece))))
        strengths = (draw.uniform(0.1, 1.0) if i in active else 0.0 for i in range(len(piece)))
        return {"texts": self._tokenizer.row_texts(piece), "activations": list(strengths)}

    def _tokens(self, draw: random.Random, number: int) -> tuple[str, ...]:
        drawn = draw.sample(self._vocabulary, min(number, len(self._vocabulary)))
        return tuple(self._tokenizer.texts(drawn))

    def _keywords(self, index: int) -> Keywords:
        draw = self._draw("keywords", index)
        fired = fired_words([[FiredToken(t, 1.0)] for t in self._tokens(draw, _FIRED_EXAMPLES)])
        promoted = self._tokens(draw, self._config.evidence.num_vocab_tokens)
        return keywords(fired, promoted_words(promoted))


def described(text: str, cap_words: int, index: int) -> str:
    """A description that was kept: as much of its cap as the worked examples take of theirs. A
    name has its own bound.
    """
    answers = [shot.assistant.split() for shot in worked_examples(text)]
    if text == "named_keywords":
        return " ".join(answers[index % len(answers)])
    share = sum(len(words) for words in answers) / (len(answers) * WORKED_CAP)
    return _words(answers[index % len(answers)], max(1, round(share * cap_words)))


def answered(text: str, cap_words: int, index: int, is_structured: bool) -> str:
    """An answer of an explainer: the whole cap.

    Good models take most of it; what small ones say runs on to the limit as often as it ends, and
    is paid for whether it becomes a description or not.
    """
    if text == "named_keywords":
        return described(text, cap_words, index)
    answers = [shot.assistant.split() for shot in worked_examples(text)]
    said = _words(answers[index % len(answers)], cap_words)
    return structured.answer({"trigger": said, "relation": "none"}) if is_structured else said


def written(name: str, num_sentences: int) -> str:
    """An answer to the writer's prompt text `name`: JSON, `num_sentences` of each kind."""
    shots = [json.loads(m.content) for m in few_shots(name) if m.role == "assistant"]
    sides = {}
    for side in shots[0]:
        words = " ".join(text for shot in shots for text in shot[side]).split()
        sides[side] = [
            _words(words[n % len(words) :], _WORDS_PER_SENTENCE) for n in range(num_sentences)
        ]
    return json.dumps(sides, separators=(",", ":"))


def _words(words: Iterable[str], number: int) -> str:
    """So many words, begun again where there are fewer."""
    return " ".join(itertools.islice(itertools.cycle(words), number))
