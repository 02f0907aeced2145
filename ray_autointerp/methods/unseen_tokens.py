"""The tokens that a latent promotes and that no explainer was shown, as lists to be told apart.

Evidence shows the first 20 tokens of each list, and a description may simply repeat them. Whether
it says what they have in common shows in the tokens that come after them, ranked on text that no
evidence is from. Spelling is what counts: case and outer spaces are ignored throughout.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NUM_SHOWN = 20
"""First places of the ranking, which evidence shows where it is right."""

NUM_UNSEEN = 40
"""Unseen tokens of a latent, half for the published trials, half for the choosing ones."""


@dataclass(frozen=True)
class LatentTokens:
    """What a latent promotes: its unseen tokens, strongest first, and all spellings it has."""

    unseen: tuple[str, ...]
    spellings: frozenset[str]
    """Of what evidence shows, of the first places of its ranking, and of its unseen tokens."""

    def of_trial(self, is_choosing: bool) -> tuple[str, ...]:
        """The unseen tokens at odd places; at even places for choosing trials."""
        return self.unseen[1::2] if is_choosing else self.unseen[::2]


def spelling(token: str) -> str:
    """A token without its outer spaces, case folded."""
    return token.strip().casefold()


def latent_tokens(ranked: Sequence[str], shown: Iterable[str]) -> LatentTokens:
    """From the texts of the held-out ranking, strongest first, and of all that evidence shows.

    Of tokens that are spelt alike the first counts; blanks are no tokens.
    """
    spellings = {spelling(token) for token in (*shown, *ranked[:NUM_SHOWN])} | {""}
    unseen: list[str] = []
    for token in ranked[NUM_SHOWN:]:
        if len(unseen) < NUM_UNSEEN and spelling(token) not in spellings:
            unseen.append(token)
            spellings.add(spelling(token))
    return LatentTokens(tuple(unseen), frozenset(spellings))


def two_lists(
    own: LatentTokens, other: LatentTokens, is_choosing: bool
) -> tuple[list[str], list[str]]:
    """The lists of a trial, equally long, strongest first; empty where nothing tells them apart.

    What the other latent has too, in its evidence or in its ranking, stands in neither.
    """
    lists = [
        [token for token in one.of_trial(is_choosing) if spelling(token) not in against.spellings]
        for one, against in ((own, other), (other, own))
    ]
    length = min(map(len, lists))
    return lists[0][:length], lists[1][:length]
