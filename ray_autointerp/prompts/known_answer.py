"""Questions to a judge whose answers anybody knows, one kind for each kind of judgement.

They are asked by the same prompts as the real ones. By choice each comes in both orders: they show
whether a model answers in one of the allowed ways at all, and whether it reads what it is shown. By
likelihood they show whether the description makes what it fits likelier than what it does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_autointerp.prompts import detection, fuzzing, judge, unseen_tokens
from ray_autointerp.prompts.judgement import SetJudgement, TextJudgement, Write
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


@dataclass(frozen=True)
class KnownLikelihood:
    """A description, what it fits, and what it does not, as answers to `write`."""

    write: Write
    description: str
    fitting: str
    other: str


def known_answers(step: str) -> tuple[KnownAnswer, KnownAnswer]:
    """The question of a judging step in both orders: the right answer is another in each."""
    if step in _OF_SETS:
        judgement, (fitting, other) = _OF_SETS[step]
        choices = judge.TWO_SET_CHOICES
        return (
            KnownAnswer(judgement.ask(_DESCRIPTION, fitting, other), choices, choices[0]),
            KnownAnswer(judgement.ask(_DESCRIPTION, other, fitting), choices, choices[1]),
        )
    asked, (text, wrong) = _OF_TEXTS[step]
    yes, no = choices = detection.CHOICES
    # The text asked about is the fitting one, then the other; both are shown first.
    return (
        KnownAnswer(asked.ask((text, wrong), _DESCRIPTION, 1), choices, yes),
        KnownAnswer(asked.ask((wrong, text), _DESCRIPTION, 1), choices, no),
    )


def known_likelihood(step: str) -> KnownLikelihood:
    """What a judging step compares, of the same sets or texts."""
    if step in _OF_SETS:
        judgement, sets = _OF_SETS[step]
        fitting, other = map(judgement.written, sets)
        return KnownLikelihood(judgement.write, _DESCRIPTION, fitting, other)
    asked, texts = _OF_TEXTS[step]
    return KnownLikelihood(asked.write, _DESCRIPTION, *texts)


_OF_SETS: Mapping[str, tuple[SetJudgement, tuple[Sequence[str], Sequence[str]]]] = {
    "output_score": (judge.TWO_SETS, (_COOKING, _LAW)),
    "unseen_tokens": (unseen_tokens.JUDGEMENT, (_COOKING_TOKENS, _LAW_TOKENS)),
}
"""By step, its judgement, the set that the description fits and the other."""

_OF_TEXTS: Mapping[str, tuple[TextJudgement, tuple[str, str]]] = {
    "detection": (detection.JUDGEMENT, (_COOKING[2], _LAW[2])),
    "fuzzing": (fuzzing.JUDGEMENT, (_MARKED, _MISMARKED)),
}
"""The same of the steps that judge single texts."""
