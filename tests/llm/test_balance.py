"""Who gets the next request: the least busy server that is well, in the order of asking."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ray_autointerp.llm.balance import Balance


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def urls_of(balance: Balance, number: int) -> list[str]:
    return [(await balance.take()).url for _ in range(number)]


def test_places_go_to_the_least_busy(clock: Clock) -> None:
    async def main() -> None:
        balance = Balance(["a", "b"], limit=3, clock=clock)
        assert await urls_of(balance, 4) == ["a", "b", "a", "b"]
        balance.give_back(balance.servers[1])
        assert await urls_of(balance, 2) == ["b", "a"]

    run(main)


def test_who_finds_no_room_waits_in_line(clock: Clock) -> None:
    async def main() -> None:
        balance = Balance(["a"], limit=1, clock=clock)
        served: list[int] = []

        async def one(number: int) -> None:
            server = await balance.take()
            served.append(number)
            assert server.in_flight == 1
            await asyncio.sleep(0)
            balance.give_back(server)

        await asyncio.gather(*(one(n) for n in range(5)))
        assert served == [0, 1, 2, 3, 4]
        assert balance.servers[0].in_flight == 0

    run(main)


def test_who_stops_waiting_keeps_no_place(clock: Clock) -> None:
    async def main() -> None:
        balance = Balance(["a"], limit=1, clock=clock)
        server = await balance.take()
        waiting = [asyncio.create_task(balance.take()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        balance.give_back(server)
        assert (await waiting[1]).in_flight == 1
        late = asyncio.create_task(balance.take())
        await asyncio.sleep(0)
        balance.give_back(server)
        late.cancel()  # handed out in the same turn, and wanted no more
        await asyncio.gather(late, return_exceptions=True)
        assert server.in_flight == 0

    run(main)


def test_failed_server_is_passed_over_for_a_growing_pause(clock: Clock) -> None:
    async def main() -> None:
        balance = Balance(["a", "b"], limit=10, clock=clock)
        bad = balance.servers[0]
        pauses = []
        for _ in range(4):
            clock.now = bad.passed_over_until
            balance.failed(bad, sent=clock.now)
            pauses.append(bad.passed_over_until - clock.now)
            assert await urls_of(balance, 1) == ["b"]
        assert pauses == sorted(set(pauses))
        clock.now = bad.passed_over_until
        assert await urls_of(balance, 1) == ["a"]
        balance.succeeded(bad)
        balance.failed(bad, sent=clock.now)
        assert bad.passed_over_until - clock.now == pauses[0]

    run(main)


def test_many_requests_that_fail_with_one_server_count_once(clock: Clock) -> None:
    async def main() -> None:
        balance = Balance(["a"], limit=10, clock=clock)
        bad = balance.servers[0]
        sent = clock.now
        clock.now += 1
        balance.failed(bad, sent=sent)
        until = bad.passed_over_until
        for _ in range(9):
            balance.failed(bad, sent=sent)
        assert bad.passed_over_until == until
        assert await urls_of(balance, 1) == ["a"], "there is no other"

    run(main)


def test_full_server_that_is_well_is_waited_for(clock: Clock) -> None:
    async def main() -> None:
        balance = Balance(["a", "b"], limit=1, clock=clock)
        balance.failed(balance.servers[0], sent=clock.now)
        well = await balance.take()
        assert well.url == "b"
        waiting = asyncio.create_task(balance.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        balance.give_back(well)
        assert (await waiting).url == "b"

    run(main)


def test_another_server_counts_while_it_is_well(clock: Clock) -> None:
    balance = Balance(["a", "b"], limit=10, clock=clock)
    first, second = balance.servers
    assert balance.has_another(first)
    balance.failed(second, sent=clock.now)
    assert not balance.has_another(first) and balance.has_another(second)
    clock.now = second.passed_over_until
    assert balance.has_another(first)
    alone = Balance(["a"], limit=1)
    assert not alone.has_another(alone.servers[0])
