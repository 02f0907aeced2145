"""Which step asked a question, by its form alone."""

from ray_autointerp.llm.client import Request
from ray_autointerp.prompts import detection
from ray_autointerp.prompts.known_answer import known_answers
from ray_autointerp.prompts.text import prompt_text

_KNOWN = {
    known.messages
    for step in ("output_score", "unseen_tokens", "detection", "fuzzing")
    for known in known_answers(step)
}


_BY_LIKELIHOOD = {
    prompt_text("write_text"): "detection",
    prompt_text("write_marked_text"): "fuzzing",
    prompt_text("write_texts"): "output_score",
    prompt_text("write_tokens"): "unseen_tokens",
}


def step_of(request: Request) -> str:
    """The step's name."""
    if request.messages in _KNOWN:
        return "judge_check"
    if request.answer is not None:
        return _BY_LIKELIHOOD.get(request.messages[0].content, "intervention_surprisal")
    if request.choices == detection.CHOICES:
        return "fuzzing" if "<<" in request.messages[-1].content else "detection"
    if request.choices is not None:
        is_of_tokens = request.messages[0].content == prompt_text("judge_tokens")
        return "unseen_tokens" if is_of_tokens else "output_score"
    return "explain" if request.json_schema is None else "write_sentences"
