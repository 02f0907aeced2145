"""What was freed in pieces goes back to the system."""

import sys

import psutil
import pytest

from ray_autointerp.passes.process_memory import return_freed_memory

MB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators have no malloc_trim")
def test_pieces_freed_below_one_that_is_kept_are_returned() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    pieces = [bytearray(4000) for _ in range(50_000)]
    kept = pieces[-1]
    full = process.memory_info().rss
    del pieces
    return_freed_memory()
    after = process.memory_info().rss
    assert len(kept) == 4000 and full - before > 150 * MB
    assert after - before < 50 * MB
