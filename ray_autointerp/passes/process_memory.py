"""Memory that a process has freed, given back to the system.

What a large task frees stays with the allocators (glibc's arenas of each thread, Arrow's pool), in
pieces that the next task cannot always use: a worker grew from 1.7 to 3.6 GB over twenty shards.
"""

import ctypes
import sys

import pyarrow as pa


def return_freed_memory() -> None:
    """Return what is free. Takes about a tenth of a second; without glibc it does little.

    No garbage is collected first: what a shard leaves in cycles holds no tensor and no array
    (looked at with collection switched off), and a worker's heap takes a third of a second.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
