"""Where every object of a run lies. A name is a pure function of (table, SAE, method, shard).

<run>/manifest.json
<run>/corpus/tokens/part-00003-of-00064.parquet
<run>/sae/<slug>/<table>/[<method>/]part-00017-of-00128.parquet
<run>/sae/<slug>/labels.parquet
<run>/ledger/<writer>-00012.parquet
"""

from collections.abc import Sequence

from ray_autointerp.records.flow import Step, step_named
from ray_autointerp.records.keys import slug
from ray_autointerp.records.task import Task

MANIFEST = "manifest.json"
CORPUS_TABLES = ("tokens",)
"""Tables that belong to the corpus and not to an SAE."""


def table_folder(table: str, sae: str | None, method: str | None) -> str:
    """The folder of a table; `sae` is None exactly for the corpus's own tables."""
    assert (sae is None) == (table in CORPUS_TABLES), f"{table} and SAE {sae!r}"
    scope = "corpus" if sae is None else f"sae/{slug(sae)}"
    return "/".join(part for part in (scope, table, method) if part)


def part_name(table: str, sae: str | None, method: str | None, shard: int, num_shards: int) -> str:
    """The object that holds one shard of a table."""
    assert 0 <= shard < num_shards, f"shard {shard} of {num_shards}"
    return f"{table_folder(table, sae, method)}/part-{shard:05d}-of-{num_shards:05d}.parquet"


def labels_file(sae: str) -> str:
    """The one file for people, written last."""
    return f"sae/{slug(sae)}/labels.parquet"


def ledger_part(writer: str, number: int) -> str:
    """The `number`-th object of attempts that one writer wrote."""
    return f"ledger/{slug(writer)}-{number:05d}.parquet"


def objects_of(task: Task, saes: Sequence[str]) -> tuple[str, ...]:
    """The names of everything the task writes. `saes` are the run's SAE ids."""
    step: Step = step_named(task.step)
    owners: Sequence[str | None] = (
        [None] if step.scope == "corpus" else saes if step.scope == "subject" else [task.sae]
    )
    return tuple(
        part_name(table, owner, task.method, task.shard, task.num_shards)
        for owner in owners
        for table in step.writes
    )
