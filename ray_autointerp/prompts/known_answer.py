"""Questions to a judge whose answers anybody knows, one kind for each kind of judgement.

Each is asked in both orders, by the same prompts as the real ones: what they show is whether a
model answers in one of the allowed ways at all, and whether it reads what it is shown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ray_autointerp.prompts import detection, fuzzing, judge, unseen_tokens
from ray_autointerp.prompts.message import Message

_DESCRIPTION = 'cooking and baking; fires on "flour", "oven", "recipe"; promotes "butter", "dough"'

_COOKING = (
    "I think that the butter and the flour should be mixed before the oven is hot, and then",
    "The weather was cold, so we baked bread and a cake, with sugar, eggs and a little salt.",
    "It is said that the recipe needs dough, yeast and butter, and an hour in a warm kitchen.",
    "My friend told me to stir the soup slowly, chop the onions and taste the sauce.",
)
_LAW = (
    "I think that the court and the judge should hear the witness before the trial, and then",
    "The weather was cold, so the lawyer read the contract, the statute and a long appeal.",
    "It is said that the jury needs evidence, testimony and a verdict under federal law.",
    "My friend told me to sign the deed, sue the defendant and pay the attorney.",
)
_COOKING_TOKENS = ("butter", "dough", "bake", "flour", "oven", "sauce", "recipe", "cake", "salt")
_LAW_TOKENS = ("court", "judge", "verdict", "lawyer", "trial", "jury", "statute", "appeal", "sue")
_MARKED = "The lawyer put <<flour>> and <<butter>> into a bowl before the trial in the old court"
_MISMARKED = "The <<lawyer>> put flour and butter into a bowl before the <<trial>> in the old court"


@dataclass(frozen=True)
class KnownAnswer:
    """A question and its answer."""

    messages: tuple[Message, ...]
    choices: tuple[str, ...]
    right: str
    """The one of the choices that anybody would give."""

    @property
    def wrong(self) -> tuple[str, ...]:
        """The other choices."""
        return tuple(choice for choice in self.choices if choice != self.right)


def known_answers(step: str) -> tuple[KnownAnswer, KnownAnswer]:
    """The question of a judging step in both orders: the right answer is another in each."""
    return _KNOWN[step]()


def _output_score() -> tuple[KnownAnswer, KnownAnswer]:
    return _two_sets(
        judge.ask_two(_DESCRIPTION, _COOKING, _LAW), judge.ask_two(_DESCRIPTION, _LAW, _COOKING)
    )


def _unseen_tokens() -> tuple[KnownAnswer, KnownAnswer]:
    return _two_sets(
        unseen_tokens.ask(_DESCRIPTION, _COOKING_TOKENS, _LAW_TOKENS),
        unseen_tokens.ask(_DESCRIPTION, _LAW_TOKENS, _COOKING_TOKENS),
    )


def _detection() -> tuple[KnownAnswer, KnownAnswer]:
    return _of_texts(detection.ask, _COOKING[2], _LAW[2])


def _fuzzing() -> tuple[KnownAnswer, KnownAnswer]:
    return _of_texts(fuzzing.ask, _MARKED, _MISMARKED)


_KNOWN: Mapping[str, Callable[[], tuple[KnownAnswer, KnownAnswer]]] = {
    "output_score": _output_score,
    "unseen_tokens": _unseen_tokens,
    "detection": _detection,
    "fuzzing": _fuzzing,
}


def _two_sets(
    first: tuple[Message, ...], second: tuple[Message, ...]
) -> tuple[KnownAnswer, KnownAnswer]:
    """The right set is shown first, then second."""
    choices = judge.TWO_SET_CHOICES
    return KnownAnswer(first, choices, choices[0]), KnownAnswer(second, choices, choices[1])


def _of_texts(
    ask: Callable[[tuple[str, ...], str, int], tuple[Message, ...]], fitting: str, other: str
) -> tuple[KnownAnswer, KnownAnswer]:
    """The text asked about is the fitting one, then the other; both are shown first."""
    yes, no = choices = detection.CHOICES
    return (
        KnownAnswer(ask((fitting, other), _DESCRIPTION, 1), choices, yes),
        KnownAnswer(ask((other, fitting), _DESCRIPTION, 1), choices, no),
    )
