"""What a run would do and cost, for eyes: the budget as a table, and its two sums."""

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ray_autointerp.config import Config
from ray_autointerp.plan.budget import budget
from ray_autointerp.plan.shards import Axes


def plan_table(config: Config, axes: Axes, num_layers: int, layer: int) -> Group:
    """One line per step. `layer` is the hook's, from 0, of the first SAE."""
    lines = budget(config, axes, num_layers, layer)
    latents = sum(len(r) for r in axes.latents.values())
    table = Table(
        title=f"{config.run.name}: {latents:,} latents of {', '.join(axes.latents)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("step", no_wrap=True)
    table.add_column("pool", no_wrap=True)
    table.add_column("work", overflow="fold")
    for name in ("shards", "subject\ntokens", "LLM\nrequests"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.step,
            line.pool,
            line.work,
            str(line.num_tasks),
            f"{line.subject_tokens:,}" if line.subject_tokens else "",
            f"{line.llm_requests:,}" if line.llm_requests else "",
        )
    tokens, requests = sum(x.subject_tokens for x in lines), sum(x.llm_requests for x in lines)
    return Group(
        table,
        Text(f"in all {tokens:,} tokens through the subject, {requests:,} LLM requests"),
        Text(
            "Nothing was done. `ray-autointerp label` does it; killed, it continues.", style="dim"
        ),
    )
