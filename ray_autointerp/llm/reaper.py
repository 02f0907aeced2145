"""A small process that ends an engine's processes when the actor that started them is gone, and
removes their folder of temporary files.

vLLM's children outlive a parent that is killed: they wait on sockets. Each engine therefore
has a reaper, started before its first child. It waits for the end of its standard input, which
comes when the actor closes it or dies in whatever way, and then kills every process that carries
the engine's marker in its environment. Run as a script, without this package: it must start at once
and hold next to no memory.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

_LOOKS = 5
_PAUSE_S = 0.05
"""A child between fork and exec carries no marker yet: one empty look proves nothing."""


def marked(marker: str) -> list[int]:
    """The ids of all processes that were started with `marker` (`NAME=value`) around them."""
    wanted = marker.encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it ended, or is another user's
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def end_all(marker: str, folder: str | None = None) -> None:
    """Kill every marked process, until several looks in a row find none; then remove the folder."""
    empty = 0
    while empty < _LOOKS:
        found = marked(marker)
        empty = 0 if found else empty + 1
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_PAUSE_S)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def main(marker: str, folder: str | None = None) -> None:
    """Print `ready`, wait for the parent's end, then end all that is marked."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    parent = os.getppid()
    print("ready", flush=True)  # noqa: T201
    # A process forked by the actor may hold the pipe open longer than the actor lives.
    while os.getppid() == parent and not select.select([sys.stdin], [], [], 1.0)[0]:
        pass
    end_all(marker, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
