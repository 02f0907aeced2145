"""One run that is looked at: its tables, and the indexes of its SAEs, renewed while it grows."""

import threading
from typing import ClassVar

from ray_autointerp.reports.bill_table import Bill, bill
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.progress import has_labels
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.run_page import RunReport, run_report


class ViewedRun:
    """Shared by the threads that answer requests."""

    lock: ClassVar = threading.RLock()
    """Held while tables are read, of whatever run: what they keep is not made for threads."""

    def __init__(self, uri: str, key: str) -> None:
        self.key = key
        """What the run is called in URLs: no other that is looked at has it."""
        self.run: Run = load_run(uri)
        self.tables = Tables(self.run)
        self._indexes: dict[str, LabelIndex] = {}
        self._report: RunReport | None = None
        self._bill: Bill | None = None

    @property
    def name(self) -> str:
        """The run's own name."""
        return self.run.config.run.name

    def index(self, sae: str) -> LabelIndex:
        """The labels of an SAE as they are now."""
        with self.lock:
            return self._index(sae)

    def report(self) -> RunReport:
        """The run's report; that of a finished run is made once."""
        with self.lock:
            if self._report is None or not self._report.is_finished:
                indexes = {sae: self._index(sae) for sae in self.run.saes}
                self._report = run_report(self.tables, indexes)
            return self._report

    def bill(self) -> Bill:
        """What the LLM cost so far; that of a finished run is read once."""
        with self.lock:
            if self._report is not None and self._report.is_finished and self._report.bill:
                return self._report.bill
            if self._bill is None or not has_labels(self.tables.store, self.run.saes):
                self._bill = bill(self.run)
            return self._bill

    def _index(self, sae: str) -> LabelIndex:
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
