"""A signal that ends a coroutine's work is raised, and is not logged as one that got lost."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ray_autointerp.execution import event_loop
from ray_autointerp.terminal.stop_signals import StopSignals

Work = Callable[[], Coroutine[Any, Any, None]]


async def stopped_at_work() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def in_a_child() -> None:
    await asyncio.gather(asyncio.sleep(1000), stopped_at_work())


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1000))
        group.create_task(stopped_at_work())


@pytest.mark.parametrize("work", [stopped_at_work, in_a_child, in_a_group])
def test_signal_within_a_task_is_raised_and_nothing_is_logged(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    with StopSignals(), pytest.raises(SystemExit) as ended:
        event_loop.run(work())
    assert ended.value.code == 128 + signal.SIGTERM
    del ended  # whose traceback holds the task
    gc.collect()
    assert caplog.text == ""


def test_what_else_goes_wrong_is_raised() -> None:
    async def wrong() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        event_loop.run(wrong())
