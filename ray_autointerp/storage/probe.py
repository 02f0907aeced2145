"""Does a store keep its one promise? Some S3 servers silently ignore `If-None-Match`.

On such a store two workers would overwrite each other's results, and nobody would be told.
Asked once at the start of a run; leaves nothing behind.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from uuid import uuid4

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.store import Store


@dataclass(frozen=True)
class ProbeResult:
    """What was seen when `num_writers` raced for one fresh name, `num_rounds` times."""

    num_writers: int
    num_winners: tuple[int, ...]
    """Per round, how many writers were told that the object is theirs."""
    num_overwritten: int
    """Rounds whose object did not hold a winner's bytes, or changed on a later put."""

    @property
    def holds(self) -> bool:
        """Whether each round had one winner, whose bytes stayed."""
        return set(self.num_winners) == {1} and self.num_overwritten == 0


def conditional_put_holds(store: Store, writers: int = 16, rounds: int = 3) -> ProbeResult:
    """Race for fresh names. Several rounds, as a store that is nearly atomic loses few races."""
    winners, overwritten = [], 0
    for _ in range(rounds):
        name = f"probe-{uuid4().hex}"
        try:
            wrote = _race(store, name, writers)
            winning = {_bytes_of(writer) for writer, is_ours in enumerate(wrote) if is_ours}
            before = store.get(name)
            is_put_again = store.put_if_absent(name, b"a late writer")
            stayed = before in winning and not is_put_again and store.get(name) == before
        finally:
            store.delete(name)
        winners.append(sum(wrote))
        overwritten += not stayed
    return ProbeResult(writers, tuple(winners), overwritten)


def require_conditional_put(store: Store) -> None:
    """StoreError, in one sentence, if the store does not keep the promise."""
    result = conditional_put_holds(store)
    if not result.holds:
        raise StoreError(
            f"{store.uri} does not honour conditional puts (If-None-Match: *): of "
            f"{result.num_writers} writers racing for one name, {max(result.num_winners)} were "
            "told that they had written it; use a store that honours them, such as AWS S3 or "
            "Ceph, or a folder."
        )


def _race(store: Store, name: str, writers: int) -> list[bool]:
    start = Barrier(writers)

    def write(writer: int) -> bool:
        start.wait()
        return store.put_if_absent(name, _bytes_of(writer))

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(write, range(writers)))


def _bytes_of(writer: int) -> bytes:
    return f"writer {writer}".encode()
