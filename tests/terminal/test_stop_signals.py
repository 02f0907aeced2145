"""Signals that come where Python drops exceptions."""

import os
import signal
import sys
import time
import weakref
from collections.abc import Callable

import pytest

from ray_autointerp.terminal.stop_signals import StopSignals


class Plain:
    """What a weak reference may point to."""


def in_a_destructor(number: signal.Signals) -> None:
    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)

    Dying()


def in_a_callback(number: signal.Signals) -> None:
    plain = Plain()
    reference = weakref.ref(plain, lambda _: os.kill(os.getpid(), number))
    del plain
    assert reference() is None


@pytest.mark.parametrize("comes", [in_a_destructor, in_a_callback])
@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_signal_that_python_would_drop_is_raised_all_the_same(
    comes: Callable[[signal.Signals], None],
    number: signal.Signals,
    raised: type[BaseException],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with StopSignals(), pytest.raises(raised):
        comes(number)
        time.sleep(30)
    assert "Exception ignored" not in capfd.readouterr().err


def test_what_else_is_dropped_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_value))

    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    with StopSignals():
        Broken()
    assert [str(error) for error in told] == ["broken"]
