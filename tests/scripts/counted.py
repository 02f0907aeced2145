"""The planted LLM with a meter: it counts words as tokens, and writes down what it was asked.

`$COUNTED` names a file that gets a line per question; at the `$COUNTED_KILL`-th the process dies.
"""

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from asked_by import step_of

from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import planted_script

CACHED = 3
"""Words of every prompt that are said to come from the cache."""


def counted(request: Request) -> Answer:
    answer = metered(planted_script(request), request)
    _write_down(request, answer)
    return answer


def metered(answer: Answer, request: Request) -> Answer:
    return replace(
        answer,
        num_prompt_tokens=sum(len(message.content.split()) for message in request.messages),
        num_cached_tokens=CACHED,
        num_generated_tokens=len(answer.text.split()),
    )


def read_back(log: Path) -> list[dict[str, Any]]:
    """A line per question: `key`, `kind` and the token counts."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _write_down(request: Request, answer: Answer) -> None:
    if "COUNTED" not in os.environ:
        return
    log = Path(os.environ["COUNTED"])
    counts = {name: value for name, value in asdict(answer).items() if name.startswith("num_")}
    with log.open("a") as file:
        line = {"key": request.key, "step": step_of(request), **counts}
        file.write(json.dumps(line) + "\n")
    if len(read_back(log)) == int(os.environ.get("COUNTED_KILL", -1)):
        os.kill(os.getpid(), signal.SIGKILL)
