"""One latent, everything about it: where it fires, what it moves, every description and score."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ray_autointerp.errors import UserError
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

_EXAMPLES_SHOWN = 5
_TOKENS_SHOWN = 15


def latent_card(run: Run, sae: str, latent: int) -> RenderableType:
    """A Rich card. Raises UserError if the latent is not among those the run labels."""
    whole = run.axes.latents[sae]
    if not whole.start <= latent < whole.stop:
        raise UserError(
            f"Latent {latent} is not among {whole.start}:{whole.stop}, the latents of {sae} in "
            "this run."
        )
    tables = Tables(run)
    stats = tables.row("latent_stats", sae, [latent])[latent]
    selection = tables.selection(sae)
    is_chosen = latent in selection
    parts: list[RenderableType] = [_stats(stats, is_chosen)]
    parts.append(_examples(tables.rows("top_examples", sae, [latent])[latent]))
    parts.append(_lists("VocabProj", tables.rows("vocab_proj", sae, [latent])[latent]))
    parts.append(_free(tables.row("free_scores", sae, [latent])[latent]))
    parts.append(_lists("JacobianProj", tables.rows("jacobian_proj", sae, [latent])[latent]))
    if is_chosen:
        for mode in run.config.evidence.change_modes:
            rows = tables.rows("token_change", sae, [latent], mode)[latent]
            parts.append(_lists(f"TokenChange ({mode})", rows))
    parts.append(_descriptions(tables, sae, latent, is_chosen))
    nearest = (tables.row("neighbours", sae, [latent])[latent]["neighbours"] or [])[:5]
    parts.append(
        Text("nearest: " + ", ".join(f"{n['latent']} ({n['cosine']:.2f})" for n in nearest))
    )
    return Panel(Group(*parts), title=f"{sae} · latent {latent}", title_align="left")


def marked(texts: Iterable[str], activations: Iterable[float], maximum: float) -> Text:
    """An excerpt with its active tokens marked: the stronger, the brighter."""
    line = Text()
    for text, activation in zip(texts, activations, strict=True):
        shown = text.replace("\n", "\\n")
        if activation <= 0:
            line.append(shown, style="dim")
        elif activation >= 0.6 * maximum:
            line.append(shown, style="bold black on yellow")
        else:
            line.append(shown, style="yellow underline")
    return line


def _stats(stats: Row, is_chosen: bool) -> Text:
    if stats["is_dead"]:
        return Text("dead: never active on this corpus")
    maximum = stats["max_activation"]
    return Text(
        f"fires on {100 * stats['density']:.3f} % of {stats['num_tokens']:,} tokens · maximum "
        f"{'none on the explain side' if maximum is None else f'{maximum:.1f}'} · "
        f"{'chosen for LLM and clamps' if is_chosen else 'not chosen'}"
    )


def _free(row: Row) -> Text:
    """The scores without an LLM, in one line."""
    said = [f"S_in {_number(row['s_in']) or 'n/a'}"]
    if row["status"] == "ok":
        said += [
            f"S_out {row['s_out']:.3f}",
            f"KL {row['effect_kl']:.2f} nats at its maximum, {row['effect_kl_amplified']:.2f} "
            "amplified",
            f"delta confidence {row['delta_confidence']:+.2f}",
        ]
    else:
        said.append(f"effects: {row['status']}")
    if row["single_token_share"] is not None:
        said.append(f"peaks on {row['single_token']!r} in {row['single_token_share']:.0%}")
    return Text(" · ".join(said))


def _examples(rows: list[Row]) -> RenderableType:
    explain = next(row for row in rows if row["split"] == "explain")
    shown = explain["examples"][:_EXAMPLES_SHOWN]
    if not shown:
        return Text("no examples on the explain side", style="dim")
    table = Table.grid(padding=(0, 1))
    for example in shown:
        text = marked(example["texts"], example["activations"], shown[0]["activation"])
        table.add_row(Text(f"{example['activation']:.1f}", style="cyan"), text)
    return Panel(table, title="top examples (explain side)", title_align="left", border_style="dim")


def _lists(name: str, rows: list[Row]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for row in rows:
        sign = {1: "raised: ", -1: "lowered: ", None: ""}[row.get("sign")]
        for side in ("promoted", "suppressed", "reads"):
            if side not in row:
                continue
            tokens = _tokens((row[side] or [])[:_TOKENS_SHOWN])
            table.add_row(Text(f"{sign}{side}", style="cyan"), tokens or Text(row["status"]))
    return Panel(table, title=name, title_align="left", border_style="dim")


def _tokens(entries: list[Row]) -> Text:
    """Tokens with their z-scores behind them, dim, where there are any."""
    parts = []
    for entry in entries:
        part = Text(_quoted(entry["text"]))
        if entry["z"] is not None:
            part.append(f"\N{NO-BREAK SPACE}{entry['z']:.0f}", style="dim")
        parts.append(part)
    return Text(", ").join(parts)


def _quoted(token: str) -> str:
    """A token with its spaces, which no line break may take away."""
    return repr(token).replace(" ", "\N{NO-BREAK SPACE}")


def _descriptions(tables: Tables, sae: str, latent: int, is_chosen: bool) -> RenderableType:
    config = tables.run.config
    table = Table(pad_edge=False, box=None)
    for name in ("method", "description", "AUROC", "difference", "hit rate", "win rate", "3 sets"):
        table.add_column(name, overflow="fold")
    for method in config.describe.methods:
        if method != "keywords" and not is_chosen:
            continue
        row = tables.row("descriptions", sae, [latent], method)[latent]
        scores: list[Row] = [{}, {}]
        if is_chosen and method in config.score.methods:
            scores = [
                tables.row(name, sae, [latent], method)[latent]
                for name in ("input_scores", "output_scores")
            ]
        table.add_row(
            method,
            row["description"] or Text(f"({row['status']})", style="dim"),
            _number(scores[0].get("auroc")),
            _number(scores[0].get("difference")),
            _number(scores[0].get("hit_rate")),
            _number(scores[1].get("win_rate")),
            _number(scores[1].get("three_set_success")),
        )
    return Panel(table, title="descriptions and scores", title_align="left", border_style="dim")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
