"""The `agreement` table as curves: mean over the sample's latents, per strength and estimator."""

from collections import defaultdict
from dataclasses import dataclass

from ray_autointerp.runs.tables import Row, Tables

MAPS = ("jacobian_proj", "vocab_proj")
"""The estimates that cost nothing per latent."""


AS_RUN = "token_change"
"""TokenChange as the run does it: on as many windows as a latent needs."""


@dataclass(frozen=True)
class Point:
    """One estimate at one number of windows; measures are means over latents, null if unknown."""

    strength: str
    estimator: str
    num_windows: float
    """Mean over latents: as TokenChange is run, each has its own number."""
    num_latents: int
    overlap: float
    spearman: float
    relative_error: float | None
    coverage: float | None


def agreement_curve(tables: Tables, sae: str) -> list[Point]:
    """All points, exact's agreement with itself among them, by strength, estimator, windows."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in tables.read("agreement", sae).to_pylist():
        if row["status"] == "ok":
            windows = 0 if row["estimator"] == AS_RUN else row["num_windows"]
            groups[row["strength"], row["estimator"], windows].append(row)
    return [_point(*key[:2], rows) for key, rows in sorted(groups.items())]


def nearest_map(tables: Tables, sae: str) -> str:
    """JacobianProj or VocabProj, whichever is nearer to the exact change at the maximum."""

    def read() -> str:
        best = {
            point.estimator: point.overlap  # rising number of windows: the last is of them all
            for point in agreement_curve(tables, sae)
            if point.strength == "maximum" and point.estimator in MAPS
        }
        return max(MAPS, key=lambda name: best.get(name, 0.0))

    return tables.kept(("nearest_map", sae), read)


def _point(strength: str, estimator: str, rows: list[Row]) -> Point:
    def mean(name: str) -> float:
        return float(sum(row[name] for row in rows) / len(rows))

    def mean_of_known(name: str) -> float | None:
        known = [row[name] for row in rows if row[name] is not None]
        return sum(known) / len(known) if known else None

    return Point(
        strength,
        estimator,
        mean("num_windows"),
        len(rows),
        mean("overlap"),
        mean("spearman"),
        mean_of_known("relative_error"),
        mean_of_known("coverage"),
    )
