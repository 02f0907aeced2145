"""What the LLM of a run cost: requests, tokens, engine seconds and money, per step and per latent.

Two sums are kept, and of each number the larger counts: the ledger's has what died unanswered and
what was pruned, that of the kept answers what the ledger lost.
"""

from dataclasses import dataclass, replace

from rich.table import Table

from ray_autointerp.config import Config
from ray_autointerp.plan.bill import cost, is_priced
from ray_autointerp.plan.flow import step_named
from ray_autointerp.records.usage import Usage
from ray_autointerp.reports.ledger import usage_by_method
from ray_autointerp.runs.answers import paid_by_method
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.names import MissingObject


@dataclass(frozen=True)
class Line:
    """One step and method, or the sum of all."""

    step: str
    method: str
    usage: Usage
    money: float


@dataclass(frozen=True)
class Bill:
    """The whole bill of a run."""

    lines: tuple[Line, ...]
    """In the order of their names."""
    is_priced: bool
    """Whether the config names any price; else all money is 0."""
    num_latents: int
    """Chosen latents of all SAEs; 0 while none is chosen."""

    @property
    def total(self) -> Line:
        """The sum of all lines."""
        usage = sum((line.usage for line in self.lines), Usage())
        return Line("all", "", usage, sum(line.money for line in self.lines))

    @property
    def sentence(self) -> str:
        """The sum in one line."""
        total = self.total
        usage = total.usage
        price = f", cost {total.money:,.4g}" if self.is_priced else ""
        return (
            f"LLM: {usage.num_requests:,} requests, {usage.num_prompt_tokens:,} prompt tokens "
            f"({_share(usage)} from cache), {usage.num_generated_tokens:,} generated, "
            f"{usage.engine_seconds:,.1f} engine seconds{price}"
        )


def bill(run: Run, prices: Config | None = None) -> Bill:
    """The bill of a run as far as it has come, at the prices of its own or another config."""
    config = prices or run.config
    tables = Tables(run)
    kept, tried = paid_by_method(tables.store), usage_by_method(run)
    lines = []
    for step, method in sorted(kept.keys() | tried.keys()):
        usage = kept.get((step, method), Usage()).larger(tried.get((step, method), Usage()))
        section = config.judging if step_named(step).pool == "judge" else config.llm
        lines.append(Line(step, method, usage, cost(usage, section.price)))
    priced = any(is_priced(section.price) for section in (config.llm, config.judging))
    return Bill(tuple(lines), priced, sum(_num_chosen(tables, sae) for sae in run.saes))


def bill_table(made: Bill) -> Table:
    """The same for eyes: a row per step and method, their sum, and the sum per chosen latent."""
    table = Table(title="what the LLM cost", title_justify="left", box=None, pad_edge=False)
    for name in ("step", "method"):
        table.add_column(name, no_wrap=True)
    names = ("requests", "prompt\ntokens", "cached", "generated", "engine\nseconds")
    for name in (*names, *(["cost"] if made.is_priced else [])):
        table.add_column(name, justify="right")
    for line in (*made.lines, made.total):
        table.add_row(*_cells(line, made, 1))
    if made.num_latents:
        per_latent = replace(made.total, step="per latent")
        table.add_row(*_cells(per_latent, made, made.num_latents))
    return table


def _num_chosen(tables: Tables, sae: str) -> int:
    try:
        return tables.selected(sae).num_chosen
    except MissingObject:
        return 0


def _cells(line: Line, made: Bill, share: int) -> list[str]:
    usage, digits = line.usage, 0 if share == 1 else 1
    cells = [
        line.step,
        line.method,
        f"{usage.num_requests / share:,.{digits}f}",
        f"{usage.num_prompt_tokens / share:,.{digits}f}",
        _share(usage),
        f"{usage.num_generated_tokens / share:,.{digits}f}",
        f"{usage.engine_seconds / share:,.2f}",
    ]
    return [*cells, f"{line.money / share:,.4g}"] if made.is_priced else cells


def _share(usage: Usage) -> str:
    return f"{usage.num_cached_tokens / max(1, usage.num_prompt_tokens):.0%}"
