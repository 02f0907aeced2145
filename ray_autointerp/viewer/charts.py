"""Geometry of the plots, in units of their view boxes; templates/charts.html draws them as SVG.

They are drawn on the server, so that a page needs no plotting script and can be one file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_autointerp.viewer.measures import Measure

WIDTH, HEIGHT = 240, 56
"""Of a histogram."""
SIZE_X, SIZE_Y = 440, 200
"""Of a scatter plot or a line chart, without its margins."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """Maps values to places between 0 and `size`."""

    low: float
    high: float
    size: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies; what lies beyond an end is put on it."""
        low, high, at = (self._scaled(number) for number in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.size * min(1.0, max(0.0, share)), 2)

    def ticks(self, count: int = 5) -> list[Tick]:
        """At round numbers, ends included where they are round."""
        if self.is_log:
            first, last = math.ceil(self._scaled(self.low)), math.floor(self._scaled(self.high))
            exponents = range(first, last + 1)[:: max(1, (last - first + 1) // count)]
            return [Tick(self.place(10.0**n), short_number(10.0**n)) for n in exponents]
        step = _nice((self.high - self.low) / count)
        start = math.ceil(self.low / step - 1e-9)
        stop = math.floor(self.high / step + 1e-9)
        values = [number * step for number in range(start, stop + 1)]
        return [Tick(self.place(value), short_number(value)) for value in values]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.is_log else value


@dataclass(frozen=True)
class Scatter:
    """Points of two measures."""

    x: Measure
    y: Measure
    x_axis: Axis
    y_axis: Axis
    points: list[dict[str, Any]]
    num_latents: int


def histogram_bars(
    bins: Sequence[Mapping[str, Any]], edges: Sequence[float]
) -> list[dict[str, Any]]:
    """A bar per bin: heights of all and of those asked for, on a square-root scale: tails show."""
    most = max((one["whole"] for one in bins), default=1)
    width = WIDTH / (len(edges) - 1)

    def height(count: int) -> float:
        return round(HEIGHT * math.sqrt(count / most), 2)

    return [
        {
            "x": round(one["bin"] * width, 2),
            "width": round(width - 1, 2),
            "whole": height(one["whole"]),
            "asked": height(one["n"]),
            "low": edges[one["bin"]],
            "high": edges[one["bin"] + 1],
            "count": one["n"],
            "of": one["whole"],
        }
        for one in bins
    ]


def scatter(
    x: Measure, y: Measure, points: Sequence[Mapping[str, Any]], num_latents: int
) -> Scatter:
    """Points as circles whose area is the number of latents there."""
    x_axis = _axis_of(x, [point["x"] for point in points], SIZE_X)
    y_axis = _axis_of(y, [point["y"] for point in points], SIZE_Y)
    drawn = [
        {
            **point,
            "cx": x_axis.place(point["x"]),
            "cy": round(SIZE_Y - y_axis.place(point["y"]), 2),
            "r": round(min(16.0, 3.0 * math.sqrt(point["n"])), 2),
        }
        for point in points
    ]
    return Scatter(x, y, x_axis, y_axis, drawn, num_latents)


def short_number(value: float) -> str:
    """A number as an axis shows it."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.4g}"


def _axis_of(measure: Measure, values: Sequence[float], size: float) -> Axis:
    if measure.scale == "rate" or not values:
        return Axis(0.0, 1.0, size)
    low, high = min(values), max(values)
    if measure.scale == "log":
        return Axis(max(low, 1e-8) / 1.2, high * 1.2, size, is_log=True)
    room = 0.03 * (high - low) or 0.5
    return Axis(low - room, high + room, size)


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= step - 1e-12)
