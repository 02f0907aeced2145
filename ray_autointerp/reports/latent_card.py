"""One latent, everything about it: where it fires, what it moves, every description and score."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from ray_autointerp.passes.revivals import strongest
from ray_autointerp.prompts.repeated_text import LEAST_LATENTS
from ray_autointerp.reports import names
from ray_autointerp.reports.carried_label import carried_label, is_carried
from ray_autointerp.reports.description_scores import label_note, number, scores_in_words
from ray_autointerp.reports.latent_html import latent_html
from ray_autointerp.reports.latent_rows import Description, LatentRows, latent_rows
from ray_autointerp.reports.revival_table import source_in_words
from ray_autointerp.reports.terminal_text import cut, cut_left, flowed, printable
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

_TEXT_WIDTH = 100
"""Columns of a card as plain text."""
_EXAMPLES_SHOWN = 5
_TOKENS_SHOWN = 15
_NEIGHBOURS_SHOWN = 5
_LONGEST_REPEAT = 6
"""Of one character in a token: more of it (indentation, rules of dashes) is shown by its count."""

_TWO_COLUMNS = 100
"""Width from which raised and lowered, or promoted and suppressed, stand side by side."""
_GUTTER = 4
_INDENT = 2
_LEFT_SHARE = 0.55
"""Of an example's width, what stands before its peak: a latent sees nothing of what follows."""

_MOVED = ("promoted", "suppressed")
_READ = ("reads", "reads_against")
_SIDES = {
    "promoted": "promotes",
    "suppressed": "suppresses",
    "reads": "reads",
    "reads_against": "against",
}
_NAME_WIDTH = max(map(len, _SIDES.values())) + 1

_Named = tuple[str, list[Text]]
"""A list's name and its items; a title has none."""


class LatentCard(LatentRows):
    """The rows of one latent: as text where it is printed, as HTML where a notebook shows it."""

    def __repr__(self) -> str:
        console = Console(file=io.StringIO(), width=_TEXT_WIDTH, color_system=None)
        with console.capture() as printed:
            console.print(self)
        return "\n".join(line.rstrip() for line in printed.get().splitlines())

    def _repr_html_(self) -> str:
        return latent_html(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The parts from top to bottom; no line is longer than the console is wide."""
        width = options.max_width
        yield Text(f"{self.sae} · latent {self.latent}", style="bold")
        stats = _stats(self.stats, self.is_chosen) if self.stats else []
        yield from flowed([*stats, *_revived(self.revivals)], width, " ·")
        if self.free_scores:
            yield from flowed(_free(self.free_scores), width, " ·")
        if self.label is not None and self.label["name"]:
            yield from flowed(_name(self.label), width, " ·")
        yield _heading("top examples (explain side)")
        yield from _examples(self.examples, width)
        for place, (name, rows) in enumerate(self.lists):
            yield _heading(name, "" if place else " (behind a token: its z-score over latents)")
            yield from _lists(rows, width)
        yield _heading("descriptions and scores")
        if self.label is not None and is_carried(self.label):
            yield from carried_label(self.label, width)
        for description in self.descriptions:
            yield from _description(description, width)
        yield Rule(style="dim")
        nearest = self.neighbours[:_NEIGHBOURS_SHOWN]
        names = [Text(f"{near['latent']} ({near['cosine']:.2f})") for near in nearest]
        yield from _named("nearest", names, width)
        if self.missing:
            yield Text(self.missing_sentence, style="dim")


def latent_card(run: Run, sae: str, latent: int) -> LatentCard:
    """Read the card of a latent. Raises UserError if it is not among those the run labels."""
    return LatentCard(**vars(latent_rows(Tables(run), sae, latent)))


def marked(texts: Iterable[str], activations: Iterable[float], maximum: float) -> Text:
    """An excerpt with its active tokens marked: the stronger, the brighter."""
    line = Text()
    for text, activation in zip(texts, activations, strict=True):
        if activation <= 0:
            line.append(printable(text), style="dim")
        elif activation >= 0.6 * maximum:
            line.append(printable(text), style="bold black on yellow")
        else:
            line.append(printable(text), style="yellow underline")
    return line


def _heading(name: str, more: str = "") -> Rule:
    return Rule(Text.assemble((name, "bold cyan"), (more, "dim")), align="left", style="dim")


def _stats(stats: Row, is_chosen: bool) -> list[Text]:
    if stats["is_dead"]:
        return [Text("dead: never active on this corpus")]
    maximum = stats["max_activation"]
    return [
        Text(f"fires on {100 * stats['density']:.3f} % of {stats['num_tokens']:,} tokens"),
        Text(f"maximum {'none on the explain side' if maximum is None else f'{maximum:.1f}'}"),
        Text("chosen for LLM and clamps" if is_chosen else "not chosen"),
    ]


def _revived(by_source: Mapping[str, Row]) -> Iterator[Text]:
    """Of a dead latent, the text that fires it most, or that none of those tried does."""
    best = strongest(by_source)
    if best is None:
        return
    source, row = best
    if row["revived"]:
        kind = "one of the " if row["kind"] == "sentence" else f"a {row['kind']} of "
        where = f"fires at {row['activation']:.1f} on {kind}{source_in_words(source)}"
        yield Text(f"{where}: {_quoted(row['text'])}")
    else:
        num_texts = sum(row["num_texts"] for row in by_source.values())
        yield Text(f"none of {num_texts:,} texts made for it fires it")


def _free(row: Row) -> list[Text]:
    """The scores without an LLM."""
    parts = [f"S_in {number(row['s_in'])}"]
    if row["status"] == "ok":
        parts += [
            f"S_out {row['s_out']:.3f}",
            f"KL {row['effect_kl']:.2f} nats at its maximum, {row['effect_kl_amplified']:.2f} "
            "amplified",
            f"delta confidence {row['delta_confidence']:+.2f}",
        ]
    else:
        parts.append(f"effects: {row['status']}")
    if row["single_token_share"] is not None:
        parts.append(f"peaks on {_quoted(row['single_token'])} in {row['single_token_share']:.0%}")
    return [Text(part) for part in parts]


def _name(label: Row) -> list[Text]:
    """The latent's name, and how well it alone tells the latent from others."""
    parts = [f"name: {names.shown_name(label)}"]
    if won := names.win_rate(label):
        parts.append(f"the name alone wins {won} of its trials")
    return [Text(part) for part in parts]


def _examples(examples: Sequence[Row], width: int) -> Iterator[Text]:
    """A line per example: its peak between « and », all peaks in one column."""
    shown = examples[:_EXAMPLES_SHOWN]
    if not shown:
        yield Text("none on the explain side", style="dim")
        return
    maximum = shown[0]["activation"]
    values = [f"{example['activation']:.1f}" for example in shown]
    value_width = max(map(len, values))
    room = width - value_width - len("  ")
    parts = [_around_peak(example, maximum) for example in shown]
    before = min(int(_LEFT_SHARE * room), max(cell_len(left.plain) for left, _, _ in parts))
    for value, (left, peak, right) in zip(values, parts, strict=True):
        left = cut_left(left, before)
        text = Text(" " * (before - cell_len(left.plain)))
        text.append_text(left).append("«", style="dim").append_text(peak)
        text.append("»", style="dim").append_text(right)
        yield Text.assemble((value.rjust(value_width), "cyan"), "  ", cut(text, room))


def _around_peak(example: Row, maximum: float) -> tuple[Text, Text, Text]:
    """What stands before the peak, with the space its token begins with; the peak; the rest."""
    texts, at = list(example["texts"]), example["peak"]
    word = texts[at].lstrip(" ") or texts[at]
    space = " " * (len(texts[at]) - len(word))
    texts[at] = word
    left, peak, right = (
        marked(texts[part], example["activations"][part], maximum)
        for part in (slice(0, at), slice(at, at + 1), slice(at + 1, None))
    )
    return left.append(space), peak, right


def _lists(rows: Sequence[Row], width: int) -> Iterator[Text]:
    """Raised beside lowered; of a table without signs, promoted beside suppressed."""
    if "sign" in rows[0]:
        raised_first = sorted(rows, key=lambda row: row["sign"], reverse=True)
        names = {1: "raised", -1: "lowered"}
        yield from _columns(
            [
                [(names[row["sign"]], []), *(_tokens(row, side) for side in _MOVED)]
                for row in raised_first
            ],
            width,
        )
        return
    (row,) = rows
    for pair in (_MOVED, _READ):
        if pair[0] in row:
            yield from _columns([[_tokens(row, side)] for side in pair], width)


def _tokens(row: Row, side: str) -> _Named:
    """Tokens with their z-scores behind them, dim, where there are any; else the row's status."""
    entries = row[side]
    if not entries:
        return _SIDES[side], [Text("none" if row["status"] == "ok" else row["status"], "dim")]
    items = []
    for entry in entries[:_TOKENS_SHOWN]:
        item = Text(_quoted(entry["text"]))
        if entry["z"] is not None:
            item.append(f" {round(entry['z'])}", style="dim")
        items.append(item)
    return _SIDES[side], items


def _columns(columns: Sequence[Sequence[_Named]], width: int) -> Iterator[Text]:
    """Named lists in columns, as many to each, their lines level; stacked where it is narrow."""
    if width < _TWO_COLUMNS or len(columns) == 1:
        for column in columns:
            for name, items in column:
                yield from _named(name, items, width)
        return
    each = (width - _GUTTER * (len(columns) - 1)) // len(columns)
    for level in zip(*columns, strict=True):
        cells = [_named(name, items, each) for name, items in level]
        for lines in zip_longest(*cells, fillvalue=Text()):
            line = Text()
            for part in lines:
                line.append_text(part)
                line.append(" " * (each + _GUTTER - cell_len(part.plain)))
            line.rstrip()
            yield line


def _named(name: str, items: Sequence[Text], width: int) -> list[Text]:
    """A name and beside it the lines of its items, one below the other."""
    if not items:
        return [Text(name, style="bold")]
    lines = flowed(items, width - _NAME_WIDTH)
    names = [name, *[""] * (len(lines) - 1)]
    return [
        Text.assemble((name.ljust(_NAME_WIDTH), "cyan"), line)
        for name, line in zip(names, lines, strict=True)
    ]


def _description(description: Description, width: int) -> Iterator[RenderableType]:
    """Method and status, the text across the whole width, its scores on a line."""
    row = description.row
    is_ok = row["status"] == "ok"
    status = row["status"]
    if description.is_repeated:
        status = f"lint: at least {LEAST_LATENTS} latents have this text"
    title = Text.assemble(
        (description.method, "bold"), " · ", (status, "green" if status == "ok" else "red")
    )
    if description.choice is not None:
        title.append(" · ").append(label_note(description.choice), style="bold")
    yield title
    if is_ok:
        for line in row["description"].splitlines():
            yield _indented(Text(printable(line)))
    elif row["answer"]:
        said = Text(f"answered: {printable(row['answer'].strip())}", style="dim")
        yield _indented(cut(said, width - _INDENT))
    for scores in scores_in_words(description.scores):
        spelt, short = (
            " · ".join(f"{names[form]} {value}" for names, value in scores) for form in (0, 1)
        )
        fits = cell_len(spelt) <= width - _INDENT
        yield _indented(Text(spelt if fits else short, style="cyan"))


def _indented(text: Text) -> Padding:
    text.overflow = "fold"
    return Padding(text, (0, 0, 0, _INDENT), expand=False)


def _quoted(token: str) -> str:
    """A token with its spaces; what cannot be seen is escaped, one character many times counted."""
    if len(token) > _LONGEST_REPEAT and len(set(token)) == 1:
        return f"{token[0]!r} × {len(token)}"
    return repr(token)
