"""What a task of a step reads, by its method and the config, and which steps write that."""

from collections.abc import Iterator

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import is_control
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.shards import Axes, methods_of
from ray_autointerp.plan.step import Read, Step


def reads_of(step: Step, method: str | None, config: Config) -> tuple[Read, ...]:
    """What a task of the step reads: its own tables, and what its method and the config add."""
    more: tuple[Read, ...] = ()
    if step.method_reads is not None:
        assert method is not None
        more += step.method_reads(method, config)
    if step.config_reads is not None:
        more += step.config_reads(config)
    return step.reads + more


def producers(table: str) -> tuple[Step, ...]:
    """The steps that write a table."""
    steps = tuple(step for step in FLOW if table in step.writes)
    assert steps, f"no step writes {table}"
    return steps


def producer_of(table: str, method: str | None) -> Step:
    """The step that writes a table (for `descriptions`: of that method)."""
    made = producers(table)
    if len(made) == 1:
        return made[0]
    kinds = {"keywords": method == "keywords", "shuffled": is_control(method)}
    kind = next((name for name, is_kind in kinds.items() if is_kind), "explained")
    return next(step for step in made if step.methods == kind)


def variants_read(
    step: Step, method: str | None, config: Config
) -> Iterator[tuple[Read, Step, str | None]]:
    """Each read of a step's variant, with a step that writes the table and that step's variant."""
    for read in reads_of(step, method, config):
        makers = producers(read.table)
        if read.method is not None:
            yield read, producer_of(read.table, read.method), read.method
        elif makers[0].methods == "none":
            if makers[0].is_wanted(config):
                yield read, makers[0], None
        elif method is not None:
            yield read, producer_of(read.table, method), method
        else:
            for made in makers:
                for name in methods_of(made, config):
                    yield read, made, name


def owners_read(made: Step, sae: str | None, axes: Axes) -> tuple[str | None, ...]:
    """Of whom a step for this SAE (None: for the whole run) reads what another step made."""
    if made.scope in ("corpus", "run"):
        return (None,)
    if made.scope == "hook":
        assert sae is not None, "only an SAE's steps read a hook point's tables"
        return axes.write_points(sae)
    if made.scope == "read":
        assert sae is not None, "only an SAE's steps read a read point's tables"
        point = axes.read_points.get(sae)  # none in a run that is older than these tables
        return () if point is None else (point,)
    return (sae,) if sae is not None else tuple(axes.latents)
