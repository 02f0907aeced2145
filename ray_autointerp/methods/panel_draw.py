"""Who meets whom in an output-score unit: the partner and the stranger, drawn from the panel.

By hash of (latent, unit) (methods 16), so the draw is the same for every description method and
does not depend on order, sharding or which other latents are scored.
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple


class Unit(NamedTuple):
    """One text set per latent: which prompts and draw, the sign and the KL target of the clamp."""

    text_set: int
    sign: int
    kl_target: float


@dataclass(frozen=True)
class Opponents:
    """The latent whose text is the other set, and the latent whose description is the control."""

    partner: int
    stranger: int


def draw_opponents(
    latent: int,
    trial: tuple[Hashable, ...],
    partners: Collection[int],
    strangers: Collection[int],
    seed: int,
    made_for: Mapping[int, int] | None = None,
) -> Opponents | None:
    """A partner and a stranger, neither the latent itself nor each other; null if there are none.

    `trial` tells this draw from the latent's others. `partners` are the panel latents that have
    what this trial shows, `strangers` those with an `ok` description by the method. Each is the
    eligible latent with the smallest hash: taking a latent out of the panel changes only the trials
    that had drawn it, so that methods meet the same opponents but where a description failed.

    Of controls `made_for` says for which latent each one's description was made: then neither the
    partner nor the latent's own true description may be behind a description of the trial, so that
    the latent's and the stranger's are exchangeable.
    """
    source = dict(made_for or {})
    own = source.get(latent, latent)
    partner = _smallest_hash(set(partners) - {latent, own}, "partner", latent, trial, seed)
    if partner is None:
        return None
    barred = {latent, own, partner}
    eligible = {s for s in strangers if s != latent and source.get(s, s) not in barred}
    stranger = _smallest_hash(eligible, "stranger", latent, trial, seed)
    return None if stranger is None else Opponents(partner, stranger)


def _smallest_hash(
    candidates: set[int], role: str, latent: int, trial: tuple[Hashable, ...], seed: int
) -> int | None:
    drawn_for = "".join(f"{part!r}\x1f" for part in (seed, role, latent, *trial)).encode()

    def place(candidate: int) -> tuple[bytes, int]:
        key = drawn_for + repr(candidate).encode()
        return blake2b(key, digest_size=8).digest(), candidate

    return min(candidates, key=place, default=None)
