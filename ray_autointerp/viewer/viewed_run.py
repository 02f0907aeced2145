"""One run that is looked at: its tables, and the indexes of its SAEs, renewed while it grows."""

import threading

from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.viewer.label_index import LabelIndex


class ViewedRun:
    """Shared by the threads that answer requests."""

    def __init__(self, uri: str, key: str) -> None:
        self.key = key
        """What the run is called in URLs: no other that is looked at has it."""
        self.run: Run = load_run(uri)
        self.tables = Tables(self.run)
        self.lock = threading.Lock()
        """Held while tables are read: what they keep is not made for threads."""
        self._indexes: dict[str, LabelIndex] = {}

    @property
    def name(self) -> str:
        """The run's own name."""
        return self.run.config.run.name

    def index(self, sae: str) -> LabelIndex:
        """The labels of an SAE as they are now."""
        with self.lock:
            index = self._indexes.get(sae)
            if index is None or index.is_stale():
                index = self._indexes[sae] = LabelIndex(self.tables, sae)
            return index


def viewed_runs(uris: list[str]) -> dict[str, ViewedRun]:
    """By key, the runs in the order given. Raises StoreError where one is not there."""
    found: dict[str, ViewedRun] = {}
    for uri in uris:
        name = uri.rstrip("/").rpartition("/")[2] or "run"
        key, number = name, 1
        while key in found:
            number += 1
            key = f"{name}-{number}"
        found[key] = ViewedRun(uri, key)
    return found
