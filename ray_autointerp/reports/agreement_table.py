"""How far the cheap evidence of a run can be believed: agreement against windows, as a table."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from ray_autointerp.passes.agreement_curve import Point, agreement_curve
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

ESTIMATORS = {
    "exact_halves": "exact, two halves",
    "vocab_proj": "VocabProj",
    "jacobian_proj": "JacobianProj",
    "exact": "exact",
    "control_variate": "control variate",
    "token_change": "TokenChange as run",
}
"""What each estimate of TokenChange is called."""

_STRENGTHS = {"maximum": "at its maximum", "steering": "at steering"}
"""Where a latent is clamped to."""


def agreement_table(run: Run, sae: str) -> Table:
    """A Rich table: per strength and estimator, the top-20 overlap with exact TokenChange.

    How many latents a strength was measured on stands beside it: not all reach steering's KL.
    """
    points = agreement_curve(Tables(run), sae)
    table = Table(
        title=f"{sae}: agreement with exact TokenChange on documents no estimate has seen "
        "(in brackets: latents)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("estimate", no_wrap=True)
    for name in (
        "windows",
        "top-20\noverlap",
        "share of\nexact's",
        "Spearman",
        "rel.\nerror",
        "within\n2 SE",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for strength, told in _STRENGTHS.items():
        mine = [point for point in points if point.strength == strength]
        own = next((point for point in mine if point.estimator == "exact_halves"), None)
        if mine:
            table.add_row(f"[bold]{told} ({_num_latents(mine)})[/bold]")
        for estimator in ESTIMATORS:
            for point in mine:
                if point.estimator == estimator:
                    table.add_row(*_cells(point, own))
        table.add_section()
    return table


def _num_latents(points: Sequence[Point]) -> str:
    fewest, most = (side(point.num_latents for point in points) for side in (min, max))
    return f"{most}" if fewest == most else f"{fewest}-{most}"


def _cells(point: Point, own: Point | None) -> tuple[str, ...]:
    return (
        ESTIMATORS[point.estimator],
        f"{point.num_windows:.3g}" if point.num_windows else "",
        f"{point.overlap:.3f}",
        f"{point.overlap / own.overlap:.2f}" if own and own.overlap else "",
        f"{point.spearman:.3f}",
        # VocabProj knows no scale: how large a logit moves is not what it says.
        ""
        if point.estimator == "vocab_proj" or point.relative_error is None
        else f"{point.relative_error:.3f}",
        "" if point.coverage is None else f"{100 * point.coverage:.0f} %",
    )
