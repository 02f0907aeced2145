"""A judge that only counts shared words, for the leak control of the output score.

Token lists in a description's evidence meet text steered by the same clamp; beside each output
score stands what this judge would get (methods 16). No LLM is asked.
"""

import re
from collections.abc import Sequence

WORD = re.compile(r"[^\W_]+")


def word_overlap_log_odds(
    description: str, target_texts: Sequence[str], partner_texts: Sequence[str]
) -> float:
    """L(d) of the judge: the description's words found in the target's texts minus the partner's.

    Distinct words, case folded; a word in both sets cancels.
    """
    described = words(description)
    return float(len(described & words(*target_texts)) - len(described & words(*partner_texts)))


def words(*texts: str) -> frozenset[str]:
    """The distinct case-folded words (runs of letters and digits) of some texts."""
    return frozenset(word for text in texts for word in WORD.findall(text.casefold()))
