"""The `agreement` table as curves: mean over the sample's latents, per strength and estimator."""

from collections import defaultdict
from dataclasses import dataclass

from ray_autointerp.stages.tables import Row, Tables

MAPS = ("jacobian_proj", "vocab_proj")
"""The estimates that cost nothing per latent."""


@dataclass(frozen=True)
class Point:
    """One estimate at one number of windows; measures are means over latents, null if unknown."""

    strength: str
    estimator: str
    num_windows: int
    num_latents: int
    overlap: float
    spearman: float
    relative_error: float
    coverage: float | None


def agreement_curve(tables: Tables, sae: str) -> list[Point]:
    """All points, exact's agreement with itself among them, by strength, estimator, windows."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in tables.read("agreement", sae).to_pylist():
        if row["status"] == "ok":
            groups[row["strength"], row["estimator"], row["num_windows"]].append(row)
    return [_point(*key, rows) for key, rows in sorted(groups.items())]


def nearest_map(tables: Tables, sae: str) -> str:
    """JacobianProj or VocabProj, whichever is nearer to the exact change at the maximum."""
    best = {
        point.estimator: point.overlap  # rising number of windows: the last is of them all
        for point in agreement_curve(tables, sae)
        if point.strength == "maximum" and point.estimator in MAPS
    }
    return max(MAPS, key=lambda name: best.get(name, 0.0))


def _point(strength: str, estimator: str, num_windows: int, rows: list[Row]) -> Point:
    covered = [row["coverage"] for row in rows if row["coverage"] is not None]

    def mean(name: str) -> float:
        return float(sum(row[name] for row in rows) / len(rows))

    return Point(
        strength,
        estimator,
        num_windows,
        len(rows),
        mean("overlap"),
        mean("spearman"),
        mean("relative_error"),
        sum(covered) / len(covered) if covered else None,
    )
