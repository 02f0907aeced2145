"""One latent as self-contained HTML for a notebook: inline styles, every text escaped.

Colours are shades over the page's own background, so that light and dark themes can be read.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from ray_autointerp.reports.carried_label import is_carried, origin
from ray_autointerp.reports.description_scores import label_note, number, scores_in_words
from ray_autointerp.reports.latent_rows import Description, LatentRows
from ray_autointerp.reports.names import is_broad
from ray_autointerp.reports.terminal_text import printable
from ray_autointerp.runs.tables import Row

_EXAMPLES_SHOWN = 6
_TOKENS_SHOWN = 12
_TOKEN_CHARS = 24
"""Of a token in a list: some are long runs of spaces."""
_NEIGHBOURS_SHOWN = 5

_LINE = "border-top:1px solid rgba(128,128,128,.4);margin-top:.7em;padding-top:.5em"
_DIM = "opacity:.7"
_TOKEN = "font-family:monospace;white-space:pre-wrap"
_ACTIVE = "245,158,11"
_MOVES = (("promoted", "promotes", "34,197,94"), ("suppressed", "suppresses", "239,68,68"))
"""Column, heading and colour of the token lists."""


def latent_html(rows: LatentRows) -> str:
    """Label, examples with shaded tokens, token lists, and each description with its scores."""
    parts = [
        *_head(rows),
        *_examples(rows.examples),
        *_lists(rows.lists),
        *_descriptions(rows),
        *_foot(rows),
    ]
    style = "max-width:64em;line-height:1.5;text-align:left"
    return f'<div style="{style}">{"".join(parts)}</div>'


def _head(rows: LatentRows) -> Iterator[str]:
    yield _block(f"{rows.sae} · latent {rows.latent}", _DIM)
    label = rows.label
    text = (label and label["label"]) or "no label yet"
    yield _block(text, "font-size:1.25em;font-weight:600;white-space:pre-line")
    if label is not None:
        yield _block(" · ".join(_label_facts(label)), _DIM)
    if rows.stats:
        yield _block(" · ".join(_stats(rows)), _DIM)


def _label_facts(label: Row) -> Iterator[str]:
    yield f"by {label['method']}" if label["method"] else label["status"]
    if is_carried(label):
        yield f"carried over from {origin(label)}"
    elif label["margin"] is not None:
        yield f"margin {label['margin']:+.3f} over {label['runner_up']}"
    if label["name"]:
        yield f"name: {label['name']}{' (too broad)' if is_broad(label) else ''}"
    if label["repeated"]:
        yield f"several latents have the same text by {', '.join(label['repeated'])}"


def _stats(rows: LatentRows) -> Iterator[str]:
    stats, free = rows.stats, rows.free_scores
    if stats["is_dead"]:
        yield "dead: never active on this corpus"
        return
    yield f"fires on {100 * stats['density']:.3f} % of {stats['num_tokens']:,} tokens"
    if stats["max_activation"] is not None:
        yield f"maximum {stats['max_activation']:.1f}"
    if free and free["effect_kl"] is not None:
        yield f"effect {free['effect_kl']:.3f} nats at its maximum"


def _examples(examples: Sequence[Row]) -> Iterator[str]:
    if not examples:
        return
    yield _heading("fires on")
    maximum = examples[0]["activation"]
    for example in examples[:_EXAMPLES_SHOWN]:
        pairs = zip(example["texts"], example["activations"], strict=True)
        tokens = "".join(_shaded(text, value, maximum) for text, value in pairs)
        yield (
            f'<div dir="auto" style="{_TOKEN}"><span style="{_DIM}">'
            f"{example['activation']:.1f}  </span>{tokens}</div>"
        )


def _shaded(text: str, activation: float, maximum: float) -> str:
    if activation <= 0:
        return _text(text)
    strength = 0.15 + 0.55 * min(1.0, activation / maximum if maximum > 0 else 1.0)
    shade = f"background:rgba({_ACTIVE},{strength:.2f});border-radius:2px"
    word = text.lstrip(" ") or text
    space = " " * (len(text) - len(word))
    return f'{space}<span title="{activation:.2f}" style="{shade}">{_text(word)}</span>'


def _lists(lists: Sequence[tuple[str, Sequence[Row]]]) -> Iterator[str]:
    for name, rows in lists:
        for row in sorted(rows, key=lambda row: -row.get("sign", 0)):
            sign = {1: ", raised", -1: ", lowered"}.get(row.get("sign", 0), "")
            yield _heading(name + sign)
            for column, side, colour in _MOVES:
                entries = (row[column] or ())[:_TOKENS_SHOWN]
                tokens = " ".join(_entry(entry, colour) for entry in entries)
                nothing = "none" if row["status"] == "ok" else row["status"]
                yield f"<div>{_dim(side)} {tokens or _dim(nothing)}</div>"


def _entry(entry: Row, colour: str) -> str:
    numbers = [f"logit {entry['logit']:+.3f}"] if entry["logit"] is not None else []
    if entry["z"] is not None:
        numbers.append(f"z {entry['z']:.1f}")
    style = f"{_TOKEN};background:rgba({colour},.18);border-radius:2px;padding:0 .2em"
    token = printable(entry["text"]).replace(" ", "␣")
    token = token if len(token) <= _TOKEN_CHARS else f"{token[:_TOKEN_CHARS]}…"
    return f'<bdi title="{", ".join(numbers)}" style="{style}">{escape(token)}</bdi>'


def _descriptions(rows: LatentRows) -> Iterator[str]:
    if rows.descriptions:
        yield _heading("descriptions and scores")
    for one in sorted(rows.descriptions, key=lambda description: description.choice is None):
        yield _description(one)


def _description(one: Description) -> str:
    status = one.row["status"]
    facts = [label_note(one.choice)] if one.choice is not None else []
    if one.is_repeated:
        facts.append("several latents have this text")
    if status != "ok":
        facts.append(status)
    title = f"<b>{_text(one.method)}</b> {_dim(' · '.join(facts))}"
    text = _block(one.row["description"] or "", "white-space:pre-line")
    scores = [
        f'<span style="white-space:nowrap">{_dim(name)} <b>{_text(value)}</b></span>'
        for group in scores_in_words(one.scores)
        for (name, _), value in group
    ]
    return f'<div style="margin:.4em 0">{title}{text}<div>{" · ".join(scores)}</div></div>'


def _foot(rows: LatentRows) -> Iterator[str]:
    if rows.neighbours:
        nearest = rows.neighbours[:_NEIGHBOURS_SHOWN]
        near = [f"{one['latent']} ({number(one['cosine'])})" for one in nearest]
        yield _block(f"nearest: {', '.join(near)}", f"{_DIM};{_LINE}")
    if rows.missing:
        yield _block(rows.missing_sentence, _DIM)


def _heading(text: str) -> str:
    return _block(text, f"font-weight:600;{_LINE}")


def _block(text: str, style: str) -> str:
    return f'<div dir="auto" style="{style}">{_lines(text.splitlines())}</div>' if text else ""


def _lines(lines: Iterable[str]) -> str:
    return "<br>".join(map(_text, lines))


def _dim(text: str) -> str:
    return f'<span style="{_DIM}">{_text(text)}</span>'


def _text(text: str) -> str:
    """Escaped for HTML; what cannot be seen is spelt out."""
    return escape(printable(text))
