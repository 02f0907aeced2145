"""Ctrl-C and SIGTERM, as every command takes them: the work is left cleanly, in one sentence.

The first signal raises an exception where the command is at work, so that what it holds is given
back: its lease, its workers, its engines. A second Ctrl-C during that ends the process at once; its
engines and its own Ray then end by themselves, for both watch the process that started them.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SAME_PRESS_S = 0.5
"""A wrapper that passes a terminal's Ctrl-C on sends it a second time: that is one press."""

_AGAIN_S = 0.05
"""After a signal was lost, until it is sent again."""

_SHOW_CURSOR = "\x1b[?25h"


class StopSignals:
    """Takes SIGINT and SIGTERM as long as it is entered. For the main thread."""

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._received = None
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        self._unraisable_before = sys.unraisablehook
        sys.unraisablehook = self._take_again
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._unraisable_before
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def saying(self, sentence: str, say: Callable[[str], None]) -> Iterator[None]:
        """Where a signal ends what is done inside, `say` it and exit with 128 + the signal.

        Whatever else goes wrong while the work is left is not shown: the signal is the reason.
        """
        try:
            yield
        except BaseException as error:
            received = self._received
            if received is None and isinstance(error, SystemExit):
                # A library's own handler of SIGTERM.
                received = signal.SIGTERM if error.code == 128 + signal.SIGTERM else None
            if received is None:
                raise
            say(sentence)
            raise SystemExit(128 + received) from None

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._received is not None:
            if number == signal.SIGINT and time.monotonic() - self._at > _SAME_PRESS_S:
                _end_at_once()
            return
        self._received, self._at = signal.Signals(number), time.monotonic()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _take_again(self, lost: "sys.UnraisableHookArgs") -> None:
        """Python drops what is raised in a destructor or in a weak reference's callback: a signal
        that came there is sent again.
        """
        received = self._received
        if received is None or not isinstance(lost.exc_value, KeyboardInterrupt | SystemExit):
            self._unraisable_before(lost)
            return
        self._received = None
        again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), received))
        again.daemon = True
        again.start()


def _end_at_once() -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # a progress display hides it
        sys.stderr.flush()
    os._exit(128 + signal.SIGINT)
