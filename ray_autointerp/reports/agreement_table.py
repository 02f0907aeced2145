"""How far the cheap evidence of a run can be believed: agreement against windows, as a table."""

from rich import box
from rich.table import Table

from ray_autointerp.stages.agreement_curve import Point, agreement_curve
from ray_autointerp.stages.run import Run
from ray_autointerp.stages.tables import Tables

_NAMES = {
    "exact_halves": "exact, against itself",
    "vocab_proj": "VocabProj",
    "jacobian_proj": "JacobianProj",
    "exact": "exact",
    "control_variate": "exact + control variate",
    "token_change": "TokenChange as run",
}


def agreement_table(run: Run, sae: str) -> Table:
    """A Rich table: per strength and estimator, the top-20 overlap with exact TokenChange."""
    points = agreement_curve(Tables(run), sae)
    table = Table(
        title=f"{sae}: agreement with exact TokenChange on documents no estimate has seen",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    names = ("clamped to", "estimate", "windows", "top-20 overlap", "of exact's own", "Spearman")
    for name in (*names, "rel. error", "within 2 SE", "latents"):
        table.add_column(name, justify="left" if name in names[:2] else "right")
    for strength in ("maximum", "steering"):
        own = next(
            (p for p in points if (p.strength, p.estimator) == (strength, "exact_halves")), None
        )
        for estimator in _NAMES:
            for point in points:
                if (point.strength, point.estimator) == (strength, estimator):
                    table.add_row(*_cells(point, own))
        table.add_section()
    return table


def _cells(point: Point, own: Point | None) -> tuple[str, ...]:
    return (
        point.strength,
        _NAMES[point.estimator],
        f"{point.num_windows:.3g}" if point.num_windows else "",
        f"{point.overlap:.3f}",
        f"{point.overlap / own.overlap:.2f}" if own and own.overlap else "",
        f"{point.spearman:.3f}",
        # VocabProj knows no scale: how large a logit moves is not what it says.
        "" if point.estimator == "vocab_proj" else f"{point.relative_error:.3f}",
        "" if point.coverage is None else f"{100 * point.coverage:.0f} %",
        str(point.num_latents),
    )
