"""Who drives a run: `lease/<epoch>.json`, put if absent, and a heartbeat beside it.

One driver is meant to be at work. No promise rests on that: two drivers would publish the same
objects, and pay the LLM twice. So a lease is not taken from a driver whose heartbeat moves, and is
taken without asking from one that is dead. No clocks are compared (architecture, section 5).
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

from ray_autointerp.errors import AutointerpError, DriverReplaced, RunIsDriven
from ray_autointerp.records.layout import LEASE, lease_file, lease_heartbeat, lease_release
from ray_autointerp.storage.store import Store

HEARTBEAT_S = 10.0
"""Seconds between two heartbeats."""

WATCH_S = 60.0
"""Seconds after which a heartbeat that has not moved is a dead driver's."""

_LOOK_AGAIN_S = 2.0


@dataclass(frozen=True)
class Driver:
    """A process that drives a run."""

    host: str
    machine: str
    """What tells machines apart, and containers on one: a process can be looked for in its own."""
    pid: int
    started: float
    """When the process began, as its machine counts; tells it from a later one of its number."""
    since: str
    """UTC, for people."""

    @property
    def is_known_dead(self) -> bool:
        """Whether it ran on this machine and is gone. False where that cannot be seen."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.pid)
            is_same = bool(process.create_time() == self.started)
            return not is_same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since} UTC"


class Lease:
    """The right to drive a run, kept alive by a thread until `release`."""

    def __init__(self, store: Store, epoch: int) -> None:
        self._store = store
        self._epoch = epoch
        self._successor: Driver | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raise DriverReplaced if another driver has taken over."""
        if self._successor is not None:
            raise DriverReplaced(
                f"Another driver has taken over this run ({self._successor}): this one stops. What "
                "is finished is kept."
            )

    def release(self) -> None:
        """Give the lease back; the next driver need not wait. Called again, it does nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.join()
        with suppress(AutointerpError):  # the next driver waits a minute
            self._store.put_if_absent(lease_release(self._epoch), b"{}")

    def _keep(self) -> None:
        beat = 0
        while not self._stopped.wait(HEARTBEAT_S):
            with suppress(AutointerpError):  # a store that is away may be back at the next
                self._store.put_if_absent(lease_heartbeat(self._epoch, beat), b"{}")
                if beat:
                    self._store.delete(lease_heartbeat(self._epoch, beat - 1))
                beat += 1
                if (last := _Seen(self._store)).epoch > self._epoch:
                    self._successor = last.driver


def acquire(
    store: Store, *, take_over: bool = False, waits: Callable[[str], None] = lambda _: None
) -> Lease:
    """Become the driver of the run whose folder the store is.

    Where another driver has the lease and is not known to be dead, its heartbeat is watched for a
    minute (`waits` gets the reason), unless `take_over`. Raises RunIsDriven if it moves.
    """
    while True:
        seen = _Seen(store)
        if seen.driver is not None and not (take_over or seen.is_free):
            waits(
                f"This run was driven by {seen.driver}. Waiting {WATCH_S:.0f} s to see whether it "
                "still is; --take-over does not wait."
            )
            _watch(store, seen)
        epoch = seen.epoch + 1
        if store.put_if_absent(lease_file(epoch), json.dumps(asdict(_this_process())).encode()):
            return Lease(store, epoch)
        take_over = False  # another one was quicker


def driver_of(store: Store) -> Driver | None:
    """Who has the lease of the run whose folder the store is, dead or alive; None if no one."""
    seen = _Seen(store)
    return None if seen.is_released else seen.driver


class _Seen:
    """What the store says of the last lease."""

    def __init__(self, store: Store) -> None:
        self.names = store.list(f"{LEASE}/")
        epochs = [name for name in self.names if name.count("/") == 1]
        self.epoch = int(Path(epochs[-1]).stem) if epochs else -1
        self.driver = Driver(**json.loads(store.get(epochs[-1]))) if epochs else None
        self.is_released = lease_release(self.epoch) in self.names

    @property
    def is_free(self) -> bool:
        return self.is_released or self.driver is None or self.driver.is_known_dead


def _watch(store: Store, first: _Seen) -> None:
    """Return once the driver is gone. Raises RunIsDriven."""
    until = time.monotonic() + WATCH_S
    while time.monotonic() < until:
        time.sleep(min(_LOOK_AGAIN_S, WATCH_S))
        now = _Seen(store)
        if now.epoch == first.epoch and now.is_free:
            return
        if now.names != first.names:
            raise RunIsDriven(
                f"The run {store.uri} is being driven by {now.driver}: stop that process first, or "
                "add --take-over, and it stops by itself."
            )


def _this_process() -> Driver:
    process = psutil.Process()
    since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    return Driver(socket.gethostname(), _machine(), process.pid, process.create_time(), since)


@cache
def _machine() -> str:
    """The host, its boot and its process numbers: containers have numbers of their own."""
    parts = [socket.gethostname()]
    if sys.platform == "linux":
        with suppress(OSError):
            parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
            parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return "/".join(parts)
