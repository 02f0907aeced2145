"""Who meets whom in an output-score unit: the partner and the stranger, drawn from the panel.

By hash of (latent, unit) (methods 16), so the draw is the same for every description method and
does not depend on order, sharding or which other latents are scored.
"""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True)
class Unit:
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
    latent: int, unit: Unit, partners: Collection[int], strangers: Collection[int], seed: int
) -> Opponents | None:
    """A partner and a stranger, neither the latent itself nor each other; null if there are none.

    `partners` are the panel latents that have the texts of this unit, `strangers` those with an
    `ok` description by the method. Each is the eligible latent with the smallest hash: taking a
    latent out of the panel changes only the units that had drawn it, so that methods meet the
    same opponents but where a description failed.
    """
    partner = _smallest_hash(set(partners) - {latent}, "partner", latent, unit, seed)
    if partner is None:
        return None
    stranger = _smallest_hash(set(strangers) - {latent, partner}, "stranger", latent, unit, seed)
    return None if stranger is None else Opponents(partner, stranger)


def _smallest_hash(
    candidates: set[int], role: str, latent: int, unit: Unit, seed: int
) -> int | None:
    trial = (seed, role, latent, unit.text_set, unit.sign, unit.kl_target)

    def place(candidate: int) -> tuple[bytes, int]:
        key = "\x1f".join(repr(part) for part in (*trial, candidate))
        return blake2b(key.encode(), digest_size=8).digest(), candidate

    return min(candidates, key=place, default=None)
