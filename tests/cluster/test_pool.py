"""The pool of actors, with real actors that wait until they are told to end."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from ray_autointerp.cluster.pool import Pool, Room
from ray_autointerp.plan.suspects import Width
from ray_autointerp.records.task import Task


class Waiter:
    """Ends each task when a file of its shard's number appears in the folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def warm(self) -> None:
        if (self._folder / "slow start").exists():
            time.sleep(3600)
        if (self._folder / "deadly start").exists():
            (self._folder / "deadly start").unlink()
            os._exit(1)

    def work(self, task: Task, width: Width) -> tuple[int, Width]:
        while not (self._folder / str(task.shard)).exists():
            time.sleep(0.01)
        return os.getpid(), width

    def close(self) -> None:
        (self._folder / "closed").touch()


def task(shard: int, sae: str = "sae") -> Task:
    return Task("explain", sae, "max_act", shard, 99)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def make_pool(ray_cluster: None, folder: Path) -> Iterator[Callable[..., Pool]]:
    pools = []

    def make(
        number: int = 1,
        room: Room = Room(),  # noqa: B008
        requests_of: Callable[[Task], int] = lambda _: 1,
        cpus: float = 0.1,
    ) -> Pool:
        actor = ray.remote(Waiter).options(num_cpus=cpus, max_concurrency=8)
        pool = Pool(lambda: actor.remote(str(folder)), room, requests_of)
        pool.grow_to(number)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()


def start(pool: Pool) -> None:
    while pool.starting:
        (reference,), _ = ray.wait(pool.starting)
        ray.get(reference)
        pool.started(reference)


def wait_until(happened: Callable[[], bool]) -> None:
    while not happened():  # the test's own time limit ends it
        time.sleep(0.05)


def test_tasks_are_given_to_workers_that_have_started_and_to_no_other(
    make_pool: Callable[..., Pool],
) -> None:
    pool = make_pool(1)
    assert not pool.has_room(), "it has not started"
    start(pool)
    assert pool.has_room()


def test_worker_takes_tasks_until_their_requests_fill_its_rooms(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(1, Room(10, ahead=2), lambda task: 8)
    start(pool)
    for shard in range(3):
        assert pool.has_room()
        reference = pool.submit(task(shard))
    assert not pool.has_room(), "three times 8 is more than two rooms of 10"
    (folder / "2").touch()
    ray.get(reference)
    assert pool.settle(reference) == task(2)
    assert pool.has_room()


def test_task_of_more_requests_than_fill_a_room_is_given_with_another_behind_it(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(1, Room(10, ahead=2), lambda task: 1000)
    start(pool)
    pool.submit(task(0))
    assert pool.has_room(), "the engine must not drain while the first one ends"
    pool.submit(task(1))
    assert not pool.has_room()
    for shard in range(2):
        (folder / str(shard)).touch()


def test_worker_that_worked_on_others_since_is_not_held_to_have_an_sae(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(2, Room(20))
    start(pool)
    for shard in range(9):
        (folder / str(shard)).touch()

    def pid_of(sae: str, shard: int) -> int:
        reference = pool.submit(task(shard, sae))
        found: int = ray.get(reference)[0]
        pool.settle(reference)
        return found

    first = pid_of("a", 0)
    assert [pid_of("a", shard) for shard in (1, 2)] == [first] * 2
    held = pool.submit(task(3, "a"))  # so that the other one is less busy
    other = pid_of("b", 4)
    assert other != first
    for shard, sae in ((5, "c"), (6, "a")):
        assert pid_of(sae, shard) == other
    pool.settle(held)
    assert pid_of("b", 7) == first, "the other one holds c and a by now"


def test_least_busy_worker_is_given_the_next_task_and_ties_go_to_who_knows_the_sae(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(2, Room(2))
    start(pool)
    for shard in range(6):
        (folder / str(shard)).touch()
    first, second = pool.submit(task(0, "a")), pool.submit(task(1, "b"))
    pids = [ray.get(reference)[0] for reference in (first, second)]
    assert len(set(pids)) == 2
    for reference in (first, second):
        pool.settle(reference)
    assert ray.get(pool.submit(task(2, "b")))[0] == pids[1]
    assert ray.get(pool.submit(task(3, "a")))[0] == pids[0]


def test_dead_worker_leaves_its_place_and_the_one_that_takes_it_is_waited_for(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(1, Room(2))
    start(pool)
    references = [pool.submit(task(0)), pool.submit(task(1))]
    ray.kill(pool.actors()[0])
    for reference in references:
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(reference)
        pool.died(reference)
        pool.settle(reference)
    assert pool.size == 0 and not pool.starting
    pool.grow_to(1)
    assert len(pool.starting) == 1
    assert not pool.has_room()
    start(pool)
    (folder / "0").touch()
    assert ray.get(pool.submit(task(0)))


def test_suspect_runs_alone_on_a_worker_set_apart(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(1, Room(2))
    start(pool)
    busy = pool.submit(task(0))
    assert not pool.probe_is_free(), "the only worker is busy"
    assert not pool.has_room(), "and is given nothing more, so that it becomes idle"
    (folder / "0").touch()
    ray.get(busy)
    pool.settle(busy)
    assert pool.probe_is_free()
    alone = pool.submit_to_probe(task(1), 8)
    assert not pool.has_room() and not pool.probe_is_free()
    (folder / "1").touch()
    assert ray.get(alone)[1] == 8, "it is told how many requests it may ask at once"
    pool.settle(alone)
    pool.release_probe()
    assert pool.has_room()


def test_only_who_holds_nothing_is_let_go_at_once(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(2)
    start(pool)
    busy = pool.submit(task(0))
    assert not pool.let_idle_go(3600), "not idle for so long"
    assert pool.let_idle_go(0)
    assert (folder / "closed").exists(), "who goes is told first"
    assert not pool.let_idle_go(0), "the other one holds a task"
    (folder / "0").touch()
    assert ray.get(busy)
    assert pool.size == 1


def test_busy_worker_that_is_to_go_ends_with_its_last_task(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(1, Room(2))
    start(pool)
    running = pool.submit(task(0))
    pool.let_one_go()
    assert (pool.size, pool.num_leaving) == (0, 1), "it keeps its place until then"
    assert not pool.has_room() and not pool.probe_is_free()
    assert not (folder / "closed").exists()
    (folder / "0").touch()
    assert ray.get(running), "nothing is lost"
    pool.settle(running)
    assert (pool.size, pool.num_leaving) == (0, 0) and (folder / "closed").exists()


def test_worker_without_a_place_is_withdrawn_and_one_that_loads_its_model_is_not(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    (folder / "slow start").touch()
    pool = make_pool(1)
    wait_until(lambda: pool.lived_s() > 0)
    assert len(pool.starting) == 1 and not pool.withdraw(pending_s=0)
    nowhere = make_pool(1, cpus=99)
    time.sleep(0.5)
    assert nowhere.lived_s() == 0, "it takes no place"
    assert not nowhere.withdraw(pending_s=3600)
    assert nowhere.withdraw(pending_s=0) and nowhere.size == 0


def test_time_in_which_workers_had_their_places_outlives_them(
    make_pool: Callable[..., Pool],
) -> None:
    pool = make_pool(2)
    start(pool)
    lived = pool.lived_s()
    pool.close()
    assert pool.lived_s() >= lived > 0
    assert pool.lived_s() == pool.lived_s(), "nobody lives"


def test_tasks_that_wait_could_keep_as_many_workers_busy_as_have_room_for_them(
    make_pool: Callable[..., Pool],
) -> None:
    pool = make_pool(1, Room(10, ahead=2), lambda task: 8)
    start(pool)
    assert pool.usable(0) == 0
    assert pool.usable(2) == 1, "of a task that none has seen, a room full"
    pool.submit(task(0))
    assert pool.usable(0) == 1
    assert pool.usable(4) == 2, "five times 8 are two times two rooms of 10"


def test_worker_that_cannot_start_yet_holds_nothing_up(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    pool = make_pool(1)
    start(pool)
    running = pool.submit(task(0))
    (folder / "slow start").touch()
    pool.grow_to(2)
    (folder / "0").touch()
    ray.get(running)
    pool.settle(running)
    assert pool.has_room()
    (folder / "1").touch()
    assert ray.get(pool.submit(task(1)))


def test_worker_that_dies_while_it_starts_leaves_its_place(
    make_pool: Callable[..., Pool], folder: Path
) -> None:
    (folder / "deadly start").touch()
    pool = make_pool(1)
    (reference,) = pool.starting
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(reference)
    pool.start_failed(reference)
    assert pool.size == 0
    pool.grow_to(1)
    start(pool)
    assert pool.has_room()


def test_closed_pool_is_empty_and_opens_again(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(2)
    start(pool)
    pool.close()
    assert pool.actors() == [] and not pool.has_room() and pool.is_idle
    pool.grow_to(2)
    start(pool)
    assert len(pool.actors()) == 2
