"""Near misses: windows in which a latent is silent although they hold the tokens it peaks on.

Hard negatives for scores that ask an LLM where a latent fires: a label that only names the token
fails on them. Found in the sample of windows whose every non-zero is known. Also the tokens that
follow a latent's peaks. Knows token ids only.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_PEAK_TOKENS = 5
"""Of a latent's peak tokens, the weightiest looked for."""


@dataclass(frozen=True)
class NearMiss:
    """A silent window, and where it holds the weightiest of the latent's peak tokens."""

    window: int
    position: int


class TokenPlaces:
    """Where each token stands in some windows: first position per window."""

    def __init__(self, windows: Mapping[int, Sequence[int]]) -> None:
        self._places: dict[int, dict[int, int]] = defaultdict(dict)
        for window, token_ids in windows.items():
            for position, token in enumerate(token_ids):
                self._places[token].setdefault(window, position)

    def of(self, token: int) -> Mapping[int, int]:
        """First position of the token by window."""
        return self._places.get(token, {})


def near_misses(
    peaks: Iterable[tuple[int, float]],
    fires_in: set[int],
    places: TokenPlaces,
    rank: Mapping[int, int],
    num_kept: int,
) -> list[NearMiss]:
    """Silent windows with the most weight of peak tokens; ties go by the windows' seeded rank.

    `peaks` are the peak token and activation of each top example: a token weighs the sum of its
    activations.
    """
    weights: Counter[int] = Counter()
    for token, activation in peaks:
        weights[token] += activation  # type: ignore[assignment]  # counts may be floats
    tokens = sorted(weights, key=lambda token: (-weights[token], token))[:_PEAK_TOKENS]
    held: dict[int, float] = defaultdict(float)
    position: dict[int, int] = {}
    for token in tokens:
        for window, place in places.of(token).items():
            if window not in fires_in:
                held[window] += weights[token]
                position.setdefault(window, place)
    best = sorted(held, key=lambda window: (-held[window], rank[window]))[:num_kept]
    return [NearMiss(window, position[window]) for window in best]


def following_tokens(tokens: Iterable[int], num_kept: int) -> list[tuple[int, int]]:
    """The tokens that come right after a latent's peaks, with counts, commonest first."""
    return sorted(Counter(tokens).items(), key=lambda item: (-item[1], item[0]))[:num_kept]
