"""An explainer that is right in about one of two answers, and never at temperature 0."""

from asked_by import step_of

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script

WRONG = "zebra"
"""A word that no planted latent fires on or promotes."""


def sometimes_right(request: Request) -> Answer:
    """As planted; descriptions are mostly wrong."""
    is_wrong = request.temperature == 0 or request.seed % 2
    if step_of(request) == "explain" and is_wrong:
        return Answer(f'responds to "{WRONG}"', "stop")
    return planted_script(request)
