"""Keywords: a description made without an LLM, from the tokens a latent fires on and promotes.

A floor that every explainer should beat, and a label where there is no LLM: for instance
`fires on "war", "battle"; promotes "troops", "army"`. Pure text and arithmetic.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_autointerp.methods.character_parts import part_of_a_character
from ray_autointerp.records.split_characters import (
    CONTINUED,
    named_pieces,
    whole_characters,
    without_marks,
)

WHITESPACE = {
    "\n": "a newline",
    "\r\n": "a newline",
    "\n\n": "a blank line",
    "\t": "a tab",
    " ": "a space",
}
MIN_SHARE = 0.1
_LONGEST_WORD = 24
"""Characters; beyond it the text has no spaces to tell words by."""
NUM_WORDS = 6
"""Words quoted of each kind, at most."""


@dataclass(frozen=True)
class FiredToken:
    """A token of a top example on which the latent is active, and how strongly."""

    text: str
    activation: float
    word: str = ""
    """The word of which the token is a piece (`whole_word`); empty if it is none."""


@dataclass(frozen=True)
class FiredWord:
    """A word the latent fires on, without outer spaces."""

    token: str
    """The token that it fires on; of a character in pieces, as `named_pieces` writes them."""
    text: str
    """What a reader is shown: the word around a token that is mostly a piece of one word."""


@dataclass(frozen=True)
class Keywords:
    """Quoted words, best first, each list as one text; null where there are none."""

    fires_on: str | None
    promotes: str | None

    def __str__(self) -> str:
        lists = {"fires on": self.fires_on, "promotes": self.promotes}
        return "; ".join(f"{said} {words}" for said, words in lists.items() if words)


def keywords(fired: Sequence[FiredWord], promoted: Sequence[str]) -> Keywords:
    """The words of `fired_words` and `promoted_words`, as people read them."""
    shown = dict.fromkeys(word.text for word in fired)  # two pieces may be of one word
    return Keywords(
        *(", ".join(dict.fromkeys(map(_quoted, words))) or None for words in (shown, promoted))
    )


def fired_words(
    examples: Sequence[Sequence[FiredToken]],
    num_words: int = NUM_WORDS,
    background: Mapping[str, int] | None = None,
) -> list[FiredWord]:
    """Words the latent fires on, best first; case is ignored.

    Each example gives a token its largest activation there, so that a token counts for firing
    strongly and in many examples, not for repetition within one. With background counts that sum
    is multiplied by the token's rarity. Under a tenth of the best a token is left out. Of several
    spellings the one with most activation is shown. Ties go by the text, never by the order of
    the examples. `background` counts token texts in the corpus.
    """
    activations: defaultdict[str, list[float]] = defaultdict(list)
    forms: defaultdict[str, _Activations] = defaultdict(lambda: defaultdict(list))
    words: defaultdict[str, _Activations] = defaultdict(lambda: defaultdict(list))
    for example in examples:
        largest: dict[str, float] = {}
        for token in example:
            if not token.text:
                continue
            key = spelling(token.text)
            largest[key] = max(largest.get(key, 0.0), token.activation)
            forms[key][token.text.strip() or token.text].append(token.activation)
            words[key][token.word].append(token.activation)
        for key, activation in largest.items():
            activations[key].append(activation)
    rarities = _rarities(activations, background)
    scores = {key: math.fsum(values) * rarities[key] for key, values in activations.items()}
    best = max(scores.values(), default=0.0)
    kept = [key for key, score in scores.items() if score > 0 and score >= MIN_SHARE * best]
    ranked = sorted(kept, key=lambda key: (-scores[key], key))[:num_words]
    return [_fired_word(_heaviest(forms[key]), words[key]) for key in ranked]


def fired_token(texts: Sequence[str], place: int, activation: float) -> FiredToken:
    """The token at a place of an example; without text if its character is not in the example."""
    if not any(text.startswith(CONTINUED) for text in texts):
        return FiredToken(texts[place], activation, whole_word(texts, place))
    name = named_pieces(texts)[place]
    whole, _, places = whole_characters(texts, [0] * len(texts))
    return FiredToken(name, activation, whole_word(whole, places[place]))


def whole_word(texts: Sequence[str], place: int) -> str:
    """The word of which the token at `place` is a piece; empty if it is a word by itself.

    `texts` are consecutive tokens; a token goes on with a word if letters meet.
    """
    first, after = place, place + 1
    while first > 0 and _goes_on(texts[first - 1], texts[first]):
        first -= 1
    while after < len(texts) and _goes_on(texts[after - 1], texts[after]):
        after += 1
    word = "".join(texts[first:after]).strip() if after - first > 1 else ""
    return word if len(word) <= _LONGEST_WORD else ""


def promoted_words(promoted: Sequence[str], num_words: int = NUM_WORDS) -> list[str]:
    """Words the latent promotes, best first, without outer spaces; case is ignored.

    `promoted` comes strongest first with its leading spaces, which distinguish the start of a
    word from a piece of one: pieces come last, unless no token of the list has a space.
    """
    forms: dict[str, str] = {}
    for text in promoted:
        if text:
            forms.setdefault(spelling(text), text)
    has_spaces = any(text[0].isspace() for text in forms.values())
    words = sorted(forms.values(), key=_is_piece) if has_spaces else list(forms.values())
    return [text.strip() or text for text in words[:num_words]]


def spelling(text: str) -> str:
    """What tokens share that count as one word: outer spaces and case are ignored."""
    return text.strip().casefold() or text


_Activations = defaultdict[str, list[float]]


def _fired_word(token: str, words: Mapping[str, Sequence[float]]) -> FiredWord:
    """With the word that has more than half of the token's activation; one letter says nothing of
    its word.
    """
    word = _heaviest(words)
    half = sum(map(math.fsum, words.values())) / 2
    shown = without_marks(token)
    is_piece = bool(word) and len(shown) > 1 and math.fsum(words[word]) > half
    return FiredWord(token, word if is_piece else shown)


def _heaviest(activations: Mapping[str, Sequence[float]]) -> str:
    """The text of most activation; ties go by the text."""
    return min(activations, key=lambda text: (-math.fsum(activations[text]), text))


def _goes_on(before: str, text: str) -> bool:
    return before[-1:].isalpha() and text[:1].isalpha()


def _rarities(keys: Mapping[str, object], background: Mapping[str, int] | None) -> dict[str, float]:
    """log(all / count) as a share of log(all): 1 for a token seen once or never, 0 for all."""
    if not background:
        return dict.fromkeys(keys, 1.0)
    counts: Counter[str] = Counter()
    for text, count in background.items():
        counts[spelling(text)] += count
    log_all = math.log(counts.total() + 1)
    return {key: max(1 - math.log(max(counts[key], 1)) / log_all, 0.0) for key in keys}


def _is_piece(text: str) -> bool:
    """Whether a token goes on with a word: letters of a script with cases, no space before."""
    return text[0].isalpha() and text[0].islower()


def _quoted(text: str) -> str:
    """A token as a reader wants it: quoted, or in words where quotes would show nothing."""
    if text in WHITESPACE:
        return WHITESPACE[text]
    if text.isspace():
        lines = text.count("\n")
        return f"{lines} newlines" if lines > 1 else f"{len(text)} whitespace characters"
    if part := part_of_a_character(text.strip()):
        return part
    return json.dumps(text, ensure_ascii=False)
