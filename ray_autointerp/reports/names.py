"""A latent's name for eyes, marked where it is too broad to tell its latent from others."""

from ray_autointerp.methods.chance import CHANCE
from ray_autointerp.reports.terminal_text import printable
from ray_autointerp.runs.tables import Row

LEGEND = (
    "(too broad): by the name alone the judge is not shown to know the latent from another in more "
    "than half of the trials."
)


def is_broad(row: Row) -> bool:
    """Whether a row of `labels` has a name that was scored and not shown to be above chance."""
    low = row["name_win_rate_low"]
    return row["name"] is not None and low is not None and low <= CHANCE


def heads_label(row: Row) -> bool:
    """Whether the name stands before the label in a row of `labels`: where the label is by the
    method that made the name, or where trials of the name alone show that it tells its latent.
    """
    low = row["name_win_rate_low"]
    is_shown = low is not None and low > CHANCE
    return row["name"] is not None and (row["method"] == "named_keywords" or is_shown)


def shown_name(row: Row) -> str:
    """The name with its mark; empty where the latent has none."""
    return printable(row["name"] or "") + (" (too broad)" if is_broad(row) else "")


def win_rate(row: Row) -> str:
    """What the name alone won of its forced choices, with the interval; empty if not scored."""
    if row["name_win_rate"] is None:
        return ""
    rate, low, high = (row[f"name_win_rate{end}"] for end in ("", "_low", "_high"))
    return f"{rate:.2f} ({low:.2f}-{high:.2f})"
