"""How well each SAE fits the subject, for eyes, and what the run would say of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ray_autointerp.plan.fit_verdict import FitVerdict

_VERDICTS = {
    "ok": "fits",
    "warn": "warns",
    "stop": "stops",
    "unknown": "not known",
}


def sae_fit_table(fits: Sequence[tuple[Mapping[str, Any], FitVerdict]]) -> Group:
    """Rows of the table `sae_fit`, a line each, then the sentences to warn or stop with."""
    tokens = max((row["num_tokens"] for row, _ in fits), default=0)
    title = f"whether the SAEs fit, on {tokens:,} tokens"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("SAE", overflow="fold")
    for name in (
        "active latents\nof a token",
        "by its\nmetadata",
        "variance\nunexplained",
        "silent\nlatents",
        "sink\npositions",
    ):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    sentences: list[str] = []
    for row, verdict in fits:
        sentences += verdict.sentences
        table.add_row(
            row["sae"],
            _number(row["l0"]),
            _number(row["expected_l0"]),
            _share(row["unexplained"]),
            _share(row["silent_share"]),
            _share(row["sink_share"]),
            _VERDICTS[verdict.outcome],
        )
    return Group(table, *(Text(sentence) for sentence in sentences))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
