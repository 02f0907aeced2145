"""An LLM that keeps what it was asked, for the scripted backend in the test's own process."""

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script

ASKED: list[Request] = []
"""Every request since someone cleared it."""


def noting(request: Request) -> Answer:
    """As planted."""
    ASKED.append(request)
    return planted_script(request)
