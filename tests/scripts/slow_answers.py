"""The planted LLM, with an engine that takes its time for every answer."""

import time

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script


def slow(request: Request) -> Answer:
    time.sleep(0.25)
    return planted_script(request)


def lingering(request: Request) -> Answer:
    """It does not let go: whatever ends it is held up for a minute."""
    print("lingers", flush=True)
    try:
        time.sleep(60)
    finally:
        print("still lingers", flush=True)
        time.sleep(60)
    return planted_script(request)
