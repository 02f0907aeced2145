"""What was freed in pieces goes back to the system."""

import subprocess
import sys

import pytest

MEASURED = """
import psutil
from ray_autointerp.passes.process_memory import return_freed_memory

def resident():
    return psutil.Process().memory_info().rss / 2**20

before = resident()
pieces = [bytearray(4000) for _ in range(50_000)]
kept = pieces[-1]
full = resident()
del pieces
freed = resident()
return_freed_memory()
print(full - before, freed - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators have no malloc_trim")
def test_pieces_freed_below_one_that_is_kept_are_returned() -> None:
    """In a process of its own: another test's freed memory would serve the pieces here."""
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True
    )
    full, freed, returned = map(float, measured.stdout.split())
    assert full > 150
    assert freed > 150, "the allocator keeps it: there is something to return"
    assert returned < 50
