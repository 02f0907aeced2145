"""Which of several servers gets the next request: the least busy one that is well.

A server that failed is passed over for a growing pause as long as another one is well; one that
said how long to wait (`Retry-After`) gets nothing before. Whoever finds no room waits in line.
Belongs to one event loop. Knows no HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0


@dataclass
class Server:
    """One server and what is known of its health. Times are those of the balance's clock."""

    url: str
    in_flight: int = 0
    num_failures: int = 0
    """In a row."""
    failed_at: float = -1.0
    passed_over_until: float = 0.0
    held_until: float = 0.0
    """It asked to be left alone until then."""


class Balance:
    """Hands out places at servers, at most `limit` each at once."""

    def __init__(
        self, urls: Sequence[str], *, limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.servers = tuple(Server(url) for url in urls)
        self._limit = limit
        self._clock = clock
        self._line: deque[asyncio.Future[Server]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    async def take(self) -> Server:
        """A place at the least busy server, in the order of asking; give it back."""
        if not self._line and (server := self._free()):
            server.in_flight += 1
            return server
        mine: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._line.append(mine)
        self._hand_out()
        try:
            return await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # handed out, and wanted no more
                self.give_back(mine.result())
            raise

    def give_back(self, server: Server) -> None:
        """The place is free for the next in line."""
        server.in_flight -= 1
        self._hand_out()

    def succeeded(self, server: Server) -> None:
        """It answered: its next failure counts as the first."""
        server.num_failures = 0

    def failed(self, server: Server, *, sent: float, wait_s: float = 0.0) -> None:
        """It failed a request sent at `sent`, and asked for a pause of `wait_s` seconds."""
        now = self._clock()
        # Many requests in flight fail with one server: only those sent since count anew.
        if sent >= server.failed_at:
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**server.num_failures)
            server.num_failures = min(server.num_failures + 1, 16)
            server.passed_over_until = now + pause
            server.failed_at = now
        server.held_until = max(server.held_until, now + wait_s)

    def now(self) -> float:
        """Seconds, as `failed` wants them."""
        return self._clock()

    def soonest_s(self) -> float:
        """Seconds until any server may be asked, for those that asked for a pause."""
        return max(0.0, min(server.held_until for server in self.servers) - self._clock())

    def _free(self) -> Server | None:
        now = self._clock()
        best, one_is_well = None, False
        for server in self.servers:
            if server.held_until > now:
                continue
            is_well = server.passed_over_until <= now
            one_is_well |= is_well
            if server.in_flight < self._limit:
                rank = (not is_well, server.in_flight)
                if best is None or rank < best[0]:
                    best = (rank, server)
        # A well server that is full is waited for, rather than to ask one that just failed.
        return None if best is None or (best[0][0] and one_is_well) else best[1]

    def _hand_out(self) -> None:
        while self._line:
            if self._line[0].done():  # cancelled while it waited
                self._line.popleft()
            elif server := self._free():
                server.in_flight += 1
                self._line.popleft().set_result(server)
            else:
                self._look_again()
                return

    def _look_again(self) -> None:
        """Nobody may give a place back before the next pause ends: wake up by then."""
        now = self._clock()
        ends = [
            end
            for server in self.servers
            for end in (server.passed_over_until, server.held_until)
            if end > now
        ]
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if ends:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(min(ends) - now, self._hand_out)
