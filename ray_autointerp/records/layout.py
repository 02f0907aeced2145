"""Where every object of a run lies. A name is a pure function of (table, SAE, method, shard).

<root>/series/<name>/00007.json
<run>/manifest.json
<run>/corpus/tokens/part-00003-of-00064.parquet
<run>/judge_check/<step>/part-00000-of-00001.parquet
<run>/hook/<slug>/jacobian/part-00003-of-00009.parquet
<run>/sae/<slug>/<table>/[<method>/]part-00017-of-00128.parquet
<run>/sae/<slug>/labels.parquet
<run>/answers/<step>/<method>/<slug>/<shard>-of-<shards>/00004.parquet
<run>/suspects/<step>/<key>.1.json
<run>/quarantine/<step>/<key>.json
<run>/lease/00003.json
<run>/lease/00003/heartbeat-000017.json
<run>/lease/00003/released.json
<run>/ledger/<writer>-00012.parquet
<run>/ledger/pools/<writer>-00012.parquet
"""

from ray_autointerp.records.keys import slug
from ray_autointerp.records.task import Task

MANIFEST = "manifest.json"
ANSWERS = "answers"
"""The folder of raw LLM answers; like the ledger it is no table of results."""
LEASE = "lease"
"""The folder that says who drives the run, and since when."""
CORPUS_TABLES = ("tokens", "overlap")
"""Tables that belong to the corpus and not to an SAE."""

RUN_TABLES = ("judge_check",)
"""Tables that belong to the run as a whole."""

HOOK_TABLES = ("jacobian", "input_map")
"""Tables that belong to a hook point and serve every SAE that writes, or reads, there."""


def table_folder(table: str, owner: str | None, method: str | None) -> str:
    """The folder of a table. `owner` is an SAE's id, a hook point, or None for the corpus and the
    run.
    """
    assert (owner is None) == (table in CORPUS_TABLES + RUN_TABLES), f"{table} and owner {owner!r}"
    if owner is not None:
        scope = f"{'hook' if table in HOOK_TABLES else 'sae'}/{slug(owner)}"
    else:
        scope = "corpus" if table in CORPUS_TABLES else ""
    return "/".join(part for part in (scope, table, method) if part)


def part_name(
    table: str, owner: str | None, method: str | None, shard: int, num_shards: int
) -> str:
    """The object that holds one shard of a table."""
    assert 0 <= shard < num_shards, f"shard {shard} of {num_shards}"
    return f"{table_folder(table, owner, method)}/part-{shard:05d}-of-{num_shards:05d}.parquet"


def labels_file(sae: str) -> str:
    """The one file for people, written last."""
    return f"sae/{slug(sae)}/labels.parquet"


def ledger_part(writer: str, number: int) -> str:
    """The `number`-th object of attempts that one writer wrote."""
    return f"ledger/{slug(writer)}-{number:05d}.parquet"


LEDGER_POOLS = "ledger/pools/"
"""The folder, in that of attempts, that says how many workers there were."""


def ledger_pools_part(writer: str, number: int) -> str:
    """The `number`-th object of pools' sizes that one writer wrote."""
    return f"{LEDGER_POOLS}{slug(writer)}-{number:05d}.parquet"


def answers_folder(task: Task) -> str:
    """Where the raw answers of an llm task lie, in segments numbered as they were written."""
    assert task.method is not None
    return "/".join(
        (
            ANSWERS,
            task.step,
            task.method,
            *([slug(task.sae)] if task.sae else []),
            f"{task.shard:05d}-of-{task.num_shards:05d}/",
        )
    )


def quarantined(step: str, key: str) -> str:
    """The file that says why a request of this key is never asked again."""
    return f"{quarantine_folder(step)}{slug(key)}.json"


def quarantine_folder(step: str) -> str:
    """Where a step's quarantined requests lie."""
    return f"quarantine/{step}/"


def suspect_mark(step: str, key: str, number: int) -> str:
    """The mark that a request was asked alone for the `number`-th time (from 1)."""
    return f"{suspects_folder(step)}{slug(key)}.{number}.json"


def suspects_folder(step: str) -> str:
    """Where the marks of a step's suspected requests lie."""
    return f"suspects/{step}/"


def lease_file(epoch: int) -> str:
    """The file that names the `epoch`-th driver of the run (from 0)."""
    return f"{LEASE}/{epoch:05d}.json"


def lease_heartbeat(epoch: int, beat: int) -> str:
    """A driver's `beat`-th sign of life; the one before it is deleted."""
    return f"{LEASE}/{epoch:05d}/heartbeat-{beat:06d}.json"


def lease_release(epoch: int) -> str:
    """The file that says that the driver has ended."""
    return f"{LEASE}/{epoch:05d}/released.json"


def series_folder(name: str) -> str:
    """Where the places of a series lie, under the root of its runs."""
    return f"series/{name}/"


def series_entry(name: str, number: int) -> str:
    """The file that gives a series' `number`-th place (from 0) to a checkpoint."""
    return f"{series_folder(name)}{number:05d}.json"
