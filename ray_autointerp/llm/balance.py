"""Which of several servers gets the next request: the least busy one that is well.

A server that failed is passed over for a growing pause as long as another one is well. Requests
that find no room wait in line. Belongs to one event loop. Knows no HTTP.
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

    def failed(self, server: Server, *, sent: float) -> None:
        """It failed a request sent at `sent`."""
        # Many requests in flight fail with one server: only those sent since count anew.
        if sent < server.failed_at:
            return
        now = self._clock()
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**server.num_failures)
        server.num_failures = min(server.num_failures + 1, 16)
        server.passed_over_until = now + pause
        server.failed_at = now

    def now(self) -> float:
        """Seconds, as `failed` wants them."""
        return self._clock()

    def has_another(self, server: Server) -> bool:
        """Whether another server is well, so that a request which fails here can go there."""
        now = self._clock()
        return any(s.passed_over_until <= now for s in self.servers if s is not server)

    def _free(self) -> Server | None:
        now = self._clock()
        well = [server for server in self.servers if server.passed_over_until <= now]
        # A well server that is full is waited for, rather than to ask one that just failed.
        free = [server for server in well or self.servers if server.in_flight < self._limit]
        return min(free, key=lambda server: server.in_flight, default=None)

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
        ends = [s.passed_over_until for s in self.servers if s.passed_over_until > now]
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if ends:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(min(ends) - now, self._hand_out)
