"""One driver at a time: a live one is not disturbed, a dead one is followed, an old one stops."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ray_autointerp.errors import DriverReplaced, RunIsDriven
from ray_autointerp.records.layout import lease_file, lease_heartbeat
from ray_autointerp.runs.lease import Driver, Lease, acquire, driver_of
from ray_autointerp.storage.store import Store, open_store

pytestmark = pytest.mark.usefixtures("quick_lease")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "run"))


@pytest.fixture
def held(store: Store) -> Iterator[Lease]:
    mine = acquire(store)
    yield mine
    mine.release()


def elsewhere(store: Store, epoch: int = 0) -> Driver:
    """A driver on another machine takes the lease."""
    driver = Driver("far", "far/boot/1", 7, 1.0, "2026-01-01 00:00:00")
    store.put_if_absent(lease_file(epoch), json.dumps(asdict(driver)).encode())
    return driver


def test_driver_whose_heartbeat_moves_is_not_disturbed(store: Store, held: Lease) -> None:
    waited: list[str] = []
    with pytest.raises(RunIsDriven, match=rf"is being driven by process {os.getpid()} on .*UTC"):
        acquire(store, waits=waited.append)
    assert len(waited) == 1 and "--take-over does not wait" in waited[0]
    held.require()


def test_released_lease_is_taken_at_once(store: Store) -> None:
    first = acquire(store)
    first.release()
    first.release()
    assert driver_of(store) is None
    waited: list[str] = []
    acquire(store, waits=waited.append).release()
    assert waited == []


def test_driver_on_another_machine_is_followed_once_its_heartbeat_stands(store: Store) -> None:
    driver = elsewhere(store)
    assert driver_of(store) == driver
    waited: list[str] = []
    acquire(store, waits=waited.append).release()
    assert "process 7 on far, since 2026-01-01 00:00:00 UTC" in waited[0]
    assert store.exists(lease_file(1))


def test_driver_on_another_machine_that_beats_is_not_followed(store: Store) -> None:
    elsewhere(store)
    beats = threading.Timer(0.3, store.put_if_absent, (lease_heartbeat(0, 4), b"{}"))
    beats.start()
    with pytest.raises(RunIsDriven, match="process 7 on far"):
        acquire(store)
    beats.join()


def test_owner_that_sees_a_later_one_stops(store: Store, held: Lease) -> None:
    later = acquire(store, take_over=True)
    until = time.monotonic() + 10
    with pytest.raises(DriverReplaced, match=rf"taken over this run \(process {os.getpid()} on"):
        while time.monotonic() < until:
            held.require()
    later.require()
    later.release()


def test_process_that_was_killed_on_this_machine_is_followed_at_once(store: Store) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(store.uri,))
    process.start()
    while not store.exists(lease_file(0)):
        time.sleep(0.05)
    assert process.pid is not None
    driver = driver_of(store)
    assert driver is not None and driver.pid == process.pid and not driver.is_known_dead
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert driver.is_known_dead
    waited: list[str] = []
    acquire(store, waits=waited.append).release()
    assert waited == []


def hold(uri: str) -> None:
    acquire(open_store(uri))
    time.sleep(60)


def test_later_process_of_the_same_number_is_not_the_driver(store: Store, held: Lease) -> None:
    mine = driver_of(store)
    assert mine is not None and not mine.is_known_dead
    assert replace(mine, started=mine.started - 100).is_known_dead


def test_two_that_follow_at_once_do_not_both_drive(store: Store) -> None:
    elsewhere(store)
    found: list[object] = []

    def follow() -> None:
        try:
            found.append(acquire(store))
        except RunIsDriven as error:
            found.append(error)

    both = [threading.Thread(target=follow) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(type(one).__name__ for one in found) == ["Lease", "RunIsDriven"]
    for one in found:
        if isinstance(one, Lease):
            one.release()


def test_one_heartbeat_is_kept(store: Store, held: Lease) -> None:
    time.sleep(0.5)
    held.release()
    assert len([name for name in store.list("lease/") if "heartbeat" in name]) <= 2
    assert sum(name.endswith("released.json") for name in store.list("lease/")) == 1
