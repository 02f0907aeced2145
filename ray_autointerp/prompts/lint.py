"""What makes an answer no description: leaked reasoning, a repeated prompt, words that say nothing.

Published label sets hold such texts, and nobody sees them among thousands.
"""

import re
from collections.abc import Iterable, Sequence

from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.repeated_text import normal_form, repeats_any, repeats_run

_ECHO_WORDS = 8
"""Neighbouring words of instructions, worked examples or token lists that an answer may not repeat.
Of 32 answers of a 1.5B model to lists of 20 tokens, 11 repeated 10 or more, the others at most 4.
"""

_OVER_LONG = 2
"""Times the cap, beyond which an answer is not cut but refused: it was not asked for."""

_LEAK = re.compile(
    r"<<|>>|</?think|\bneuron \d+\b|\$cap_words|\bat most \d+ words\b|^\W*(?:text \d+|active):",
    re.IGNORECASE,
)
_EVIDENCE = r"(?:examples?|tokens?|texts?|lists?|data|evidence|activations?|inputs?|information)"
_REASONING = re.compile(
    r"""^[^\w"]*(?:okay|ok|alright|hmm+|wait|right|so|well|now),? """
    r"""(?:so|let'?s?|i|i'm|we|the user|now|the|looking)\b"""
    r"""|^[^\w"]*(?:let (?:me|us)|let's|(?:we|i) (?:need|have) to"""
    r"""|(?:we are|i am|i'm) (?:given|asked)"""
    r"""|i (?:see|notice|think that|will|should|must)|we (?:see|can see|should|must))\b"""
    rf"""|^[^\w"]*(?:looking at|based on|judging by|given) """
    rf"""(?:the|these|this|all) (?:\w+ )?{_EVIDENCE}\b"""
    r"""|\bthe user (?:wants|asks|asked|gave|provided|is asking|has)\b"""
    r"""|\b(?:my|the) final answer (?:is|should|will|would)\b|\bmy (?:answer|description)\b""",
    re.IGNORECASE,
)
_SAYS_NOTHING = frozenset(
    """a all also an and any appear appearing appears are as associated at be both by certain common
    commonly containing context contexts contain contains different diverse each english etc for
    found frequently from general generic here in include includes including is it its kind kinds
    language languages many miscellaneous mixed model more most multiple no number occur occurring
    occurs of often on or other others parts particular pattern patterns phrase phrases piece
    pieces random range related relating seem sentence sentences set several share similar some
    something specific subject subjects such term terms text texts that the their them theme themes
    there these they thing things this to token tokens topic topics type types unclear unknown unit
    unrelated used using variety various vocabulary were where which wide with within word words
    activates fires responds broad""".split()
)
"""Words that a text may consist of without naming anything."""


def is_lint(
    text: str, asked: Sequence[Message], worked: Iterable[str], cap_words: int | None = None
) -> bool:
    """Whether a text is no description. `asked` are the turns of its prompt that it may not repeat,
    `worked` the answers of its worked examples.
    """
    return bool(
        _LEAK.search(text)
        or _REASONING.search(text)
        or says_nothing(text)
        or repeats_any(text, worked)
        or echoes(text, asked)
        or (cap_words is not None and len(text.split()) > _OVER_LONG * cap_words)
    )


def says_nothing(text: str) -> bool:
    """Whether no word of a text names anything: "various words in different contexts". What is
    quoted counts as a name.
    """
    return '"' not in text and set(normal_form(text).split()) <= _SAYS_NOTHING


def echoes(text: str, asked: Iterable[Message]) -> bool:
    """Whether a text repeats a run of eight words of a prompt."""
    return repeats_run(text, (turn.content for turn in asked), _ECHO_WORDS)
