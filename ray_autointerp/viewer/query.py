"""What a person looks for among labels: read from a page's URL, and written back into one.

The URL is the whole state. It becomes SQL of fixed column names and bound parameters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from ray_autointerp.errors import UserError
from ray_autointerp.viewer.measures import BY_NAME, SHOWN_ON, Measure

PAGE_ROWS = 50

FACETS = ("shown_on", "method", "status")
"""Columns of which a person ticks values."""

SORTS = ("latent", *BY_NAME)
_ASCENDING = ("latent",)


@dataclass(frozen=True)
class Query:
    """Filters, order, page and the two axes of the scatter plot."""

    text: str = ""
    facets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By column, the values that are let through; all where none is given."""
    chosen: bool = False
    """Only latents that an LLM described."""
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    sort: str = "support"
    reverse: bool = False
    page: int = 1
    x: str = ""
    y: str = ""

    @property
    def words(self) -> list[str]:
        """What is searched: every word must occur."""
        return self.text.lower().split()

    found: str = ""
    """The table of latents that have the words, once these were searched: they are many to read,
    and a page asks for them a dozen times."""

    def where(self, without: str = "") -> tuple[str, list[Any]]:
        """The condition and its parameters; `without` leaves out the range of one measure."""
        conditions, parameters = ["true"], list[Any]()
        if self.found:
            conditions.append(f"latent in (select latent from {self.found})")
        else:
            conditions += ["contains(searched, ?)"] * len(self.words)
            parameters += self.words
        for column, values in self.facets.items():
            conditions.append(f"list_contains(?::varchar[], {column})")
            parameters.append(list(values))
        if self.chosen:
            conditions.append("(chosen or origin_run is not null)")
        for sign, ends in ((">=", self.least), ("<=", self.most)):
            for name, end in ends.items():
                if name != without:
                    conditions.append(f"{name} {sign} ?")
                    parameters.append(end)
        return " and ".join(conditions), parameters

    def order(self) -> str:
        """Nulls come last, equals by latent. By support, what is shown on more sides is first."""
        way = "asc" if (self.sort in _ASCENDING) != self.reverse else "desc"
        first = f"support is null, num_shown {way}, " if self.sort == "support" else ""
        return f"order by {first}{self.sort} {way} nulls last, latent"

    def url(self, **changes: Any) -> str:
        """A query string, of this or a changed state; what is as it starts is left out."""
        changes.setdefault("page", 1)
        return "?" + urlencode(replace(self, **changes).parameters())

    def parameters(self) -> list[tuple[str, str]]:
        """Names and values as a form would send them."""
        found = [("q", self.text)] if self.text else []
        found += [(column, value) for column, values in self.facets.items() for value in values]
        found += [("chosen", "1")] if self.chosen else []
        found += [(f"min_{name}", f"{end:g}") for name, end in self.least.items()]
        found += [(f"max_{name}", f"{end:g}") for name, end in self.most.items()]
        start = Query()
        for name in ("sort", "x", "y"):
            if getattr(self, name) != getattr(start, name):
                found.append((name, getattr(self, name)))
        found += [("reverse", "1")] if self.reverse else []
        return found + ([("page", str(self.page))] if self.page > 1 else [])

    @property
    def is_filtered(self) -> bool:
        """Whether anything is left out."""
        return self.where()[0] != "true"


def read_query(given: QueryParams, measures: Sequence[Measure]) -> Query:
    """The state that a URL says. Raises UserError where a value is none."""
    facets = {
        column: tuple(value for value in given.getlist(column) if value)
        for column in FACETS
        if any(given.getlist(column))
    }
    unknown = set(facets.get("shown_on", ())) - set(SHOWN_ON)
    if unknown:
        raise UserError(f"`shown_on` is one of {', '.join(SHOWN_ON)}, not `{min(unknown)}`.")
    names = [measure.name for measure in measures]
    sort = given.get("sort") or ("support" if "support" in names else "latent")
    if sort not in SORTS:
        raise UserError(f"Cannot sort by `{sort}`; choose one of {', '.join(SORTS)}.")
    axes = {axis: given.get(axis, "") for axis in "xy"}
    for axis, name in axes.items():
        if name and name not in BY_NAME:
            raise UserError(f"`{axis}` is one of {', '.join(BY_NAME)}, not `{name}`.")
    return Query(
        text=given.get("q", "").strip(),
        facets=facets,
        chosen=given.get("chosen") == "1",
        least=_ends(given, "min_"),
        most=_ends(given, "max_"),
        sort=sort,
        reverse=given.get("reverse") == "1",
        page=page_number(given.get("page") or "1"),
        x=axes["x"],
        y=axes["y"],
    )


def _ends(given: QueryParams, prefix: str) -> dict[str, float]:
    found = {}
    for name in BY_NAME:
        if text := given.get(prefix + name):
            try:
                found[name] = float(text)
            except ValueError:
                found[name] = math.nan
            if not math.isfinite(found[name]):
                raise UserError(f"`{prefix}{name}` takes a number such as 0.7, not `{text}`.")
    return found


def page_number(text: str) -> int:
    """The number of a page. Raises UserError where it is none."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise UserError(f"`page` takes a number from 1, not `{text}`.")
    return int(text)
