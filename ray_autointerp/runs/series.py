"""A series: the runs that label one SAE's checkpoints, in their order.

`<root>/series/<name>/00007.json`, put if absent, gives the eighth place to one checkpoint and names
its run. So two pollers never label a checkpoint twice, and one that died is followed by the next:
the place is taken, and its run is continued like any other.
"""

import json
import re
from dataclasses import asdict, dataclass

from ray_autointerp.errors import ConfigError
from ray_autointerp.records.layout import series_entry, series_folder
from ray_autointerp.storage.store import Store


@dataclass(frozen=True)
class Entry:
    """One place of the series."""

    checkpoint: str
    """The checkpoint's name under the prefix."""
    checkpoints: str
    """The prefix."""
    run: str
    """The folder of its run, under the same root."""
    parent: str | None
    """That of the last run before it that had labels."""


class Series:
    """The series of one name under a root."""

    def __init__(self, root: Store, name: str, checkpoints: str) -> None:
        self._root, self._name, self._checkpoints = root, name, checkpoints

    def entries(self) -> list[Entry]:
        """All places so far. Raises ConfigError where they are of other checkpoints."""
        names = self._root.list(series_folder(self._name))
        entries = [Entry(**json.loads(self._root.get(name))) for name in names]
        if other := next((e for e in entries if e.checkpoints != self._checkpoints), None):
            raise ConfigError(
                f"The series `{self._name}` labels the checkpoints in {other.checkpoints}, and the "
                f"config names those in {self._checkpoints}: give run.name another value."
            )
        return entries

    def next(self, checkpoint: str, number: int, parent: str | None) -> Entry:
        """What the `number`-th place is if this checkpoint gets it."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint)
        return Entry(checkpoint, self._checkpoints, f"{self._name}-{number:05d}-{plain}", parent)

    def claim(self, entry: Entry, number: int) -> bool:
        """Take the `number`-th place; False where another poller has it."""
        data = json.dumps(asdict(entry), indent=1).encode()
        return self._root.put_if_absent(series_entry(self._name, number), data)
