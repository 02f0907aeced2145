"""How templates become pages: escaped throughout, with a few filters for numbers and texts."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from ray_autointerp.records.keys import slug
from ray_autointerp.reports.names import heads_label, is_broad
from ray_autointerp.reports.terminal_text import printable
from ray_autointerp.viewer.charts import HEIGHT, SIZE_X, SIZE_Y, WIDTH, short_number
from ray_autointerp.viewer.shown_text import joined, quoted, visible

FOLDER = Path(__file__).parent


def render(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a fragment of one."""
    return HTMLResponse(text(template, **values), status_code)


def text(template: str, **values: Any) -> str:
    """What a template makes of the values."""
    return _ENVIRONMENT.get_template(template).render(**values)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "num": _number,
        "percent": _percent,
        "count": lambda value: f"{value:,}",
        "short": short_number,
        "visible": visible,
        "printable": printable,
        "quoted": quoted,
        "joined": joined,
        "slug": slug,
        "heads_label": heads_label,
        "is_broad": is_broad,
        "after_name": _after_name,
    }
    made.globals |= {"hist": (WIDTH, HEIGHT), "plot_size": (SIZE_X, SIZE_Y)}
    return made


def _after_name(label: str, name: str) -> str:
    """What a label says beside the name that it begins with."""
    return label.removeprefix(name).lstrip("; ")


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    """A share in percent, with as many digits as tell small ones apart."""
    if value is None:
        return ""
    share = 100 * value
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.2g} %"


_ENVIRONMENT = _environment()
