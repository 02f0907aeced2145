"""What a finished run can do without: its raw LLM answers, which only repeat what tables hold."""

from collections import Counter
from collections.abc import Mapping

from ray_autointerp.errors import StoreError
from ray_autointerp.records.layout import ANSWERS, LEASE, MANIFEST
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.progress import has_labels
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import Store, open_store

_NO_TABLES = (ANSWERS, "ledger", LEASE, "quarantine", "suspects")


def sizes_by_table(store: Store) -> Mapping[str, tuple[int, int]]:
    """By table, or by folder where objects are no tables: number of objects, and bytes; the largest
    first.
    """
    numbers: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for name, size in store.sizes().items():
        table = _table(name)
        numbers[table] += 1
        sums[table] += size
    return {table: (numbers[table], size) for table, size in sums.most_common()}


def drop_answers(run: Run) -> int:
    """Delete the raw answers; how many bytes. What they cost stays in the ledger.

    Raises StoreError where the run, or one that answers from them, is not finished.
    """
    if not has_labels(open_store(run.uri), run.saes):
        raise StoreError(
            f"The run {run.uri} is not finished: without its answers it would ask, and pay, again."
        )
    for child in _children(run):
        if not has_labels(open_store(child.uri), child.saes):
            raise StoreError(
                f"The run {child.uri} follows this one, is not finished, and takes answers from "
                "it: finish that one first."
            )
    store = open_store(run.uri)
    sizes = store.sizes(f"{ANSWERS}/")
    for name in sizes:
        store.delete(name)
    return sum(sizes.values())


def _children(run: Run) -> list[Run]:
    """Runs under the same root whose questions this one's answers may serve."""
    others = open_store(run.sibling("")).folders()
    runs = [
        load_run(run.sibling(folder))
        for folder in others
        if folder != run.folder and open_store(run.sibling(folder)).exists(MANIFEST)
    ]
    return [one for one in runs if run.folder in one.answered_by.values()]


def _table(name: str) -> str:
    """The table of an object `sae/<slug>/<table>/...`, `corpus/<table>/...`, or its top folder."""
    parts = name.split("/")
    if len(parts) == 1 or parts[0] in _NO_TABLES:
        return parts[0]
    place = 1 if parts[0] == "corpus" else 2
    return parts[place].removesuffix(".parquet")
