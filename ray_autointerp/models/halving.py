"""Out of memory is no failure: the batch is halved and the pass goes on.

The smaller size is kept for the rest of the worker's life; how often it was halved stands in the
metadata of the files written since, because batch shape moves the last bits of floats.
"""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory")
"""Messages of PyTorch's CPU allocator, in a plain RuntimeError."""


class Halving:
    """Runs work over rows in batches that fit into memory."""

    def __init__(self) -> None:
        self.times = 0
        """How often a batch was halved so far."""

    def run(self, num_rows: int, size: int, work: Callable[[slice], T]) -> list[T]:
        """`work` of consecutive slices of at most `size` rows, each done once that ends.

        A slice that runs out of memory is cut in two and done again: `work` must change nothing
        before it returns. Where a single row does not fit, its error is raised as it came: the
        caller may cut the row further.
        """
        done, start = [], 0
        while start < num_rows:
            now = max(1, size >> self.times)
            stop = min(start + now, num_rows)
            try:
                done.append(work(slice(start, stop)))
            except (MemoryError, RuntimeError) as error:
                if now == 1 or not is_out_of_memory(error):
                    raise
                self.times += 1
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
            else:
                start = stop
        return done


def is_out_of_memory(error: BaseException) -> bool:
    """torch.OutOfMemoryError is a RuntimeError; the CPU's allocator raises a plain one."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    message = str(error).lower()
    return any(words in message for words in _OUT_OF_MEMORY)
