"""The decoder-nearest latent of each, from the run's `neighbours`."""

from collections.abc import Sequence
from typing import NamedTuple

from ray_autointerp.runs.tables import Tables


class Nearest(NamedTuple):
    """Another latent of the dictionary, and the cosine of its decoder row."""

    latent: int
    cosine: float


def nearest(tables: Tables, sae: str, latents: Sequence[int]) -> dict[int, Nearest]:
    """By latent; it may lie outside the run's range of latents."""
    rows = tables.row("neighbours", sae, latents)
    return {latent: Nearest(**row["neighbours"][0]) for latent, row in rows.items()}
