"""Requests that kill engines: marked while they are asked alone, and shut away after two deaths.

A mark on the store without an answer counts as a death: the process that left it is gone.
"""

from collections.abc import Collection

from ray_autointerp.llm.client import Request
from ray_autointerp.prompts.message import digest
from ray_autointerp.records.keys import unslug
from ray_autointerp.records.layout import (
    quarantine_folder,
    quarantined,
    suspect_mark,
    suspects_folder,
)
from ray_autointerp.records.task import Task
from ray_autointerp.storage.json_object import get_json, put_json_if_absent
from ray_autointerp.storage.store import Store

DEATHS = 2
"""Engines that may die of a request asked alone: one death may have another reason."""


class Quarantine:
    """What one task must not ask, by Request.key."""

    def __init__(self, store: Store, task: Task) -> None:
        self._store, self._task = store, task
        self._shut_away: frozenset[str] = frozenset()

    def read(self, answered: Collection[str]) -> None:
        """Judge what was marked and is not among the answered keys, then read who is shut away."""
        self._judge(answered)
        folder = quarantine_folder(self._task.step)
        self._shut_away = frozenset(
            _key(name, folder, ".json") for name in self._store.list(folder)
        )

    def __contains__(self, key: str) -> bool:
        return key in self._shut_away

    def reason(self, key: str) -> str:
        """Why the request is never asked."""
        return str(get_json(self._store, quarantined(self._task.step, key))["reason"])

    def mark(self, request: Request) -> None:
        """Write that the request is asked alone. Without an answer, the mark stays."""
        mark = {"task": self._task.name, "prompt": digest(request.messages)}
        for number in range(1, DEATHS + 1):
            name = suspect_mark(self._task.step, request.key, number)
            if put_json_if_absent(self._store, name, mark):
                return

    def _judge(self, answered: Collection[str]) -> None:
        folder, last = suspects_folder(self._task.step), f".{DEATHS}.json"
        for name in self._store.list(folder):
            key = _key(name, folder, last)
            if not name.endswith(last) or key in answered or key in self._shut_away:
                continue
            mark = get_json(self._store, name)
            if mark["task"] == self._task.name:
                why = f"{DEATHS} engines died of this request, asked alone, in {mark['task']}"
                place = quarantined(self._task.step, key)
                put_json_if_absent(self._store, place, {**mark, "reason": why})


def _key(name: str, folder: str, ending: str) -> str:
    return unslug(name.removeprefix(folder).removesuffix(ending))
