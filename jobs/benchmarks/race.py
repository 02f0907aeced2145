"""What every race shares: interleaved rounds, medians and ranges, the machine and its load."""

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Side = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one side over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Median with range."""
        return f"{self.median:.3f} s ({self.low:.3f}-{self.high:.3f})"


def race(sides: Mapping[str, Side], rounds: int) -> dict[str, Timing]:
    """Each side once to warm up, then all in turn, `rounds` times."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for number in range(rounds):
        names = list(sides)
        # Every round begins with another side: what drifts, drifts for all.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            start = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: Timing(statistics.median(times), min(times), max(times))
        for name, times in seconds.items()
    }


def median_of(rows: Sequence[Mapping[str, float]], name: str) -> float:
    """The median of one figure over the rounds."""
    return statistics.median(row[name] for row in rows)


def machine() -> str:
    """Processor, threads, load and the allocator's settings, in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    kept = {name: os.environ.get(name, "default") for name in ALLOCATOR}
    return (
        f"{os.cpu_count()} x {model}, torch {torch.__version__} with {torch.get_num_threads()} "
        f"threads, load {os.getloadavg()[0]:.2f}, allocator {kept}"
    )


ALLOCATOR = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
"""Set both high, large buffers are kept between passes; they must be set before Python starts."""


def report(**row: object) -> None:
    """One line of JSON."""
    print(json.dumps({name: _plain(value) for name, value in row.items()}), flush=True)


def _plain(value: object) -> object:
    if isinstance(value, Timing):
        return {"median": round(value.median, 4), "range": [value.low, value.high]}
    return round(value, 4) if isinstance(value, float) else value
