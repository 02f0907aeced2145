"""Coroutines run to their end, with signals that raise wherever the process is at work."""

import asyncio
from collections.abc import Coroutine
from typing import Any


def run(work: Coroutine[Any, Any, None]) -> None:
    """As asyncio.run. Where a signal raises KeyboardInterrupt or SystemExit within the task, that
    is not also logged, with a traceback, as an exception that nobody retrieved.
    """
    stopped: list[BaseException] = []

    async def until_stopped() -> None:
        try:
            await work
        except (KeyboardInterrupt, SystemExit) as error:
            stopped.append(error)

    asyncio.run(until_stopped())
    if stopped:
        raise stopped[0]
