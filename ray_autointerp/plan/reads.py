"""What a task of a step reads, by its method and the config, and which steps write that."""

from ray_autointerp.config import Config
from ray_autointerp.records.flow import (
    EVIDENCE,
    FLOW,
    MAP_READS,
    MODE_READS,
    Read,
    Step,
    step_named,
)


def reads_of(step: Step, method: str | None, config: Config) -> tuple[Read, ...]:
    """What a task of the step reads: its own tables, and what its method, map or mode asks for."""
    if step.name == "explain":
        assert method is not None
        return step.reads + evidence_of(method, config)
    if step.name == "hub_stats":
        assert method is not None
        return step.reads + tuple(Read(table) for table in MAP_READS[method])
    if step.name == "token_change":
        assert method is not None
        return step.reads + tuple(Read(table) for table in MODE_READS[method])
    if step.name == "select" and config.select.rule == "top":
        return (*step.reads, Read("free_scores"))
    return step.reads


def evidence_of(method: str, config: Config) -> tuple[Read, ...]:
    """The evidence tables of a description method; of TokenChange, the config's first mode."""
    return tuple(
        Read(table, method=config.evidence.change_modes[0] if table == "token_change" else None)
        for table in EVIDENCE[method]
    )


def producers(table: str) -> tuple[Step, ...]:
    """The steps that write a table."""
    steps = tuple(step for step in FLOW if table in step.writes)
    assert steps, f"no step writes {table}"
    return steps


def producer_of(table: str, method: str | None) -> Step:
    """The step that writes a table (for `descriptions`: of that method)."""
    name = "keywords" if method == "keywords" and table == "descriptions" else None
    return step_named(name) if name else producers(table)[-1]
