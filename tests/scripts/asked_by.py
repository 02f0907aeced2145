"""Which step asked a question, by its form alone."""

from ray_autointerp.llm.client import Request
from ray_autointerp.prompts import detection


def step_of(request: Request) -> str:
    """The step's name."""
    if request.choices == detection.CHOICES:
        return "fuzzing" if "<<" in request.messages[-1].content else "detection"
    if request.choices is not None:
        return "output_score"
    return "explain" if request.json_schema is None else "write_sentences"
