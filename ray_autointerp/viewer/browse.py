"""The page of labels: rows, counts by facet, histograms and the scatter plot of what is asked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray_autointerp.viewer.charts import Scatter, histogram_bars, scatter
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.measures import BY_NAME, Measure
from ray_autointerp.viewer.query import FACETS, PAGE_ROWS, Query

NUM_BINS = 24
_HISTOGRAMS = 6
_POINTS = 800
"""Places of the scatter plot that are drawn, those of most latents first."""
_FLOOR = 1e-8
"""What a logarithmic axis takes for 0."""


@dataclass(frozen=True)
class Histogram:
    """How often each value of a measure occurs, among all latents and among those asked for."""

    measure: Measure
    low: float
    high: float
    bars: list[dict[str, Any]]
    count: int
    """Latents asked for that have a value."""


def label_page(index: LabelIndex, query: Query) -> tuple[int, list[dict[str, Any]]]:
    """How many latents are asked for, and the rows of one page of them."""
    where, parameters = query.where()
    (counted,) = index.rows(f"select count(*) n from labels where {where}", parameters)
    rows = index.rows(
        f"select * exclude (searched) from labels where {where} {query.order()} limit ? offset ?",
        [*parameters, PAGE_ROWS, (query.page - 1) * PAGE_ROWS],
    )
    return counted["n"], rows


def facet_counts(index: LabelIndex, query: Query) -> dict[str, list[dict[str, Any]]]:
    """Of each facet its values, with how many latents of all, and of those asked for, have them."""
    where, parameters = query.where()
    return {
        column: index.rows(
            f"select {column} as value, count(*) as whole, count(*) filter (where {where}) as n "
            f"from labels where {column} is not null group by 1 order by 2 desc, 1",
            parameters,
        )
        for column in FACETS
    }


def histograms(index: LabelIndex, query: Query) -> list[Histogram]:
    """Of the main measures, and of each that is filtered by."""
    names = ["input_auroc", "detection_auroc", "output_win_rate", "unseen_win_rate", "keyword_f1"]
    names += ["density", "fuzzing_auroc", "effect_kl"]
    wanted = [one for name in names for one in index.measures if one.name == name][:_HISTOGRAMS]
    filtered = {*query.least, *query.most} - {one.name for one in wanted}
    wanted += [one for one in index.measures if one.name in filtered]
    return [_histogram(index, query, measure) for measure in wanted]


def first_axes(index: LabelIndex) -> tuple[str, str]:
    """What the scatter plot shows at first: input against output, else what there is."""
    names = [measure.name for measure in index.measures]
    return (
        _first(names, ("input_auroc", "detection_auroc", "keyword_f1", "density")),
        _first(names, ("output_win_rate", "unseen_win_rate", "s_out", "effect_kl")),
    )


def scatter_plot(index: LabelIndex, query: Query) -> Scatter | None:
    """Latents asked for that have both measures; those at one place are one point."""
    first = first_axes(index)
    names = query.x or first[0], query.y or first[1]
    if not all(names):
        return None
    x, y = (BY_NAME[name] for name in names)
    where, parameters = query.where()
    both = f"{where} and {x.name} is not null and {y.name} is not null"
    points = index.rows(
        f"with points as (select {_grid(x)} as x, {_grid(y)} as y, count(*) as n, "
        "min(latent) as latent, max(labels.num_shown) as shown, sum(count(*)) over () as whole "
        f"from labels where {both} group by 1, 2 order by n desc, 1, 2 limit {_POINTS}) "
        "select x, y, n, latent, shown, whole, coalesce(name, label) as label "
        "from points join labels using (latent)",
        parameters,
    )
    return scatter(x, y, points, int(points[0]["whole"]) if points else 0)


def neighbours_in_order(
    index: LabelIndex, query: Query, latent: int
) -> tuple[int | None, int | None, int | None]:
    """The latents before and after one in the order that is asked for, and its place from 1."""
    where, parameters = query.where()
    found = index.rows(
        f"with o as (select latent, lag(latent) over w as before, lead(latent) over w as after, "
        f"row_number() over w as place from labels where {where} window w as ({query.order()})) "
        "select before, after, place from o where latent = ?",
        [*parameters, latent],
    )
    if not found:
        return None, None, None
    return found[0]["before"], found[0]["after"], found[0]["place"]


def _grid(measure: Measure) -> str:
    """Values to a two-hundredth of a rate, so that latents at one place are one point."""
    if measure.scale == "rate":
        return f"round({measure.name} * 200) / 200"
    if measure.scale == "log":
        return f"pow(10, round(log10(greatest({measure.name}, {_FLOOR})) * 25) / 25)"
    return f"round({measure.name}::double, 3)"


def _histogram(index: LabelIndex, query: Query, measure: Measure) -> Histogram:
    low, high = _domain(index, measure)
    value = _scaled(measure)
    where, parameters = query.where(without=measure.name)
    width = (high - low) / NUM_BINS
    bins = index.rows(
        f"select least(greatest(floor(({value} - ?) / ?), 0), ?)::int as bin, count(*) as whole, "
        f"count(*) filter (where {where}) as n from labels where {measure.name} is not null "
        "group by 1 order by 1",
        [low, width, NUM_BINS - 1, *parameters],
    )
    edges = [low + width * number for number in range(NUM_BINS + 1)]
    if measure.scale == "log":
        edges = [10**edge for edge in edges]
    count = sum(one["n"] for one in bins)
    return Histogram(measure, edges[0], edges[-1], histogram_bars(bins, edges), count)


def _domain(index: LabelIndex, measure: Measure) -> tuple[float, float]:
    if measure.scale == "rate":
        return 0.0, 1.0
    value = _scaled(measure)
    (found,) = index.rows(
        f"select min({value}) low, max({value}) high from labels "
        f"where {measure.name} {'> 0' if measure.scale == 'log' else 'is not null'}"
    )
    low, high = found["low"], found["high"]
    if low is None:
        return 0.0, 1.0
    if measure.scale == "log":
        low, high = math.floor(low), math.ceil(high)
    return (low, high) if high > low else (low, low + 1.0)


def _scaled(measure: Measure) -> str:
    if measure.scale == "log":
        return f"log10(greatest({measure.name}, {_FLOOR})::double)"
    return f"{measure.name}::double"


def _first(there: Sequence[str], wanted: Sequence[str]) -> str:
    return next((name for name in wanted if name in there), "")
