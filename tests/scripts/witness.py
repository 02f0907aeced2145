"""An LLM that answers with what it was shown, for the scripted backend."""

import re
from dataclasses import replace

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script


def counting(request: Request) -> Answer:
    """Explainers say how many texts and tokens they saw; everything else is as planted."""
    if request.choices is not None or request.json_schema is not None:
        return planted_script(request)
    asked = request.messages[-1].content
    texts = len(re.findall(r"^Text \d+:", asked, re.M))
    promoted = re.search(
        r"^(?:Promoted tokens|Raised, these become more likely): (.*)$", asked, re.M
    )
    tokens = len(re.findall(r'"[^"]+"', promoted[1])) if promoted else 0
    return Answer(f"saw {texts} texts and {tokens} tokens", "stop")


def reading(request: Request) -> Answer:
    """Judges repeat what they were asked; everything else is as planted."""
    answer = planted_script(request)
    if request.choices is None:
        return answer
    return replace(answer, text=request.messages[-1].content)


def repeating(request: Request) -> Answer:
    """MaxAct's explainer repeats its first worked example, VocabProj's says one text of every
    latent; everything else is as planted.
    """
    asked = request.messages[-1].content
    if request.choices is not None:
        return planted_script(request)
    if asked.startswith("Text 1:"):
        return Answer(f"Description: {request.messages[2].content.upper()}.", "stop")
    if asked.startswith("Promoted tokens:"):
        return Answer("words for water birds", "stop")
    return planted_script(request)
