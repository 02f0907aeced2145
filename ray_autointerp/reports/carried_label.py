"""A label that was carried over from an earlier run: where it was made, and its scores there."""

from collections.abc import Iterator

from rich.padding import Padding
from rich.text import Text

from ray_autointerp.reports.terminal_text import flowed, printable
from ray_autointerp.runs.tables import Row

_INDENT = 2
_SCORES = {
    "input_auroc": "input AUROC",
    "output_win_rate": "output win rate",
    "unseen_win_rate": "unseen tokens",
    "detection_auroc": "detection AUROC",
    "fuzzing_auroc": "fuzzing AUROC",
}


def is_carried(label: Row) -> bool:
    """Whether a row of `labels` holds a label that another run made."""
    return label["origin_run"] is not None


def origin(label: Row) -> str:
    """Where a carried label was made."""
    return (
        f"latent {label['origin_latent']} of {printable(label['origin_sae'])} in "
        f"{printable(label['origin_run'])}"
    )


def carried_label(label: Row, width: int) -> Iterator[Text | Padding]:
    """Method and origin, the text, and the scores that it has from there."""
    yield Text.assemble(
        (label["method"], "bold"), " · ", (f"the label, carried over from {origin(label)}", "bold")
    )
    for line in label["label"].splitlines():
        yield Padding(Text(printable(line), overflow="fold"), (0, 0, 0, _INDENT), expand=False)
    scores = [
        Text(f"{name} {label[column]:.2f}", style="cyan")
        for column, name in _SCORES.items()
        if label[column] is not None
    ]
    for scored in flowed([*scores, Text("measured there", style="dim")], width - _INDENT, " ·"):
        yield Padding(scored, (0, 0, 0, _INDENT), expand=False)
