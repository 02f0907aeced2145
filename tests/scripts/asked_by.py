"""Which step asked a question, by its form alone."""

from ray_autointerp.llm.client import Request
from ray_autointerp.prompts import detection
from ray_autointerp.prompts.text import prompt_text


def step_of(request: Request) -> str:
    """The step's name."""
    if request.answer is not None:
        return "intervention_surprisal"
    if request.choices == detection.CHOICES:
        return "fuzzing" if "<<" in request.messages[-1].content else "detection"
    if request.choices is not None:
        is_of_tokens = request.messages[0].content == prompt_text("judge_tokens")
        return "unseen_tokens" if is_of_tokens else "output_score"
    return "explain" if request.json_schema is None else "write_sentences"
