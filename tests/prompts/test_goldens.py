"""What every prompt says, word for word: a changed word is seen, and read, in a review.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/prompts/test_goldens.py`, then read the diff.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ray_autointerp.plan.evidence import EXPLAINERS
from ray_autointerp.prompts import (
    detection,
    fuzzing,
    intervention_surprisal,
    judge,
    sentences,
    unseen_tokens,
)
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.shown import Rows, Shown

GOLDEN = Path(__file__).parent / "golden"


def entries(*texts: str) -> list[dict[str, str]]:
    return [{"text": text, "logit": 1.0} for text in texts]


def described(text: str) -> list[dict[str, str]]:
    return [{"status": "ok", "description": text}]


LISTS = {
    "status": "ok",
    "promoted": entries(" hoot", " moon", "\n\n"),
    "suppressed": entries(" noon", '"'),
}
TOP = {
    "split": "explain",
    "status": "ok",
    "examples": [
        {
            "texts": ["The", " owl", " cal", "ls", "\n", " at", " night"],
            "activations": [0, 8.0, 8.0, 4.0, 0, 0, 0],
        },
        {"texts": [" an", " owl", "\n"], "activations": [0.0, 3.99, 0.4]},
    ],
}
CHANGE = [
    {
        "sign": 1,
        "status": "ok",
        "promoted": entries(" hoot", " dark"),
        "suppressed": entries(" bright"),
    },
    {"sign": -1, "status": "ok", "promoted": entries(" noon"), "suppressed": []},
]
ROWS: Rows = {
    "top_examples": [TOP],
    "vocab_proj": [LISTS],
    "jacobian_proj": [LISTS],
    "token_change": CHANGE,
    "descriptions/max_act": described("the word owl"),
    "descriptions/vocab_proj": described("night sounds"),
    "descriptions/token_change": [{"status": "lint", "description": None}],
    "descriptions/keywords": [{"status": "ok", "trigger": '"owl", "owls"', "promotes": '"hoot"'}],
}


def explained(method: str, rows: Rows = ROWS, is_structured: bool = False) -> tuple[Message, ...]:
    question = EXPLAINERS[method].question(rows, Shown(5, 5, 8.0), 25, is_structured)
    assert question is not None
    return question.messages


PROMPTS: dict[str, Callable[[], tuple[Message, ...]]] = {
    **{name: partial(explained, name) for name, made in EXPLAINERS.items() if made.text},
    "ensemble_raw_never_active": partial(
        explained, "ensemble_raw", {"vocab_proj": ROWS["vocab_proj"]}
    ),
    "max_act_structured": partial(explained, "max_act", is_structured=True),
    "ensemble_raw_structured": partial(explained, "ensemble_raw", is_structured=True),
    **{
        name: partial(sentences.ask, name, "responds to owls", 2)
        for name in (sentences.ACTIVATING, sentences.BOTH)
    },
    "detection": lambda: detection.ask(["I hoot\nat", "The sea"], "responds to owls", 2),
    "fuzzing": lambda: fuzzing.ask(["An <<owl>>\nat", "<<The>> owl"], "responds to owls", 1),
    "write_text": lambda: detection.write("responds to owls"),
    "write_nothing_known": lambda: detection.write(None),
    "write_marked_text": lambda: fuzzing.write("responds to owls"),
    "write_texts": lambda: judge.write("responds to owls"),
    "write_tokens": lambda: unseen_tokens.write("responds to owls"),
    "judge_two": lambda: judge.ask_two("responds to owls", ["I hoot\nat", "We"], ["The sea"]),
    "judge_tokens": lambda: unseen_tokens.ask("responds to owls", [" hoot", "\n"], ["sea", '"']),
    "intervention_surprisal": lambda: intervention_surprisal.ask(["I hoot\nat", "We"]),
    "judge_three": lambda: judge.ask_three("responds to owls", [["I hoot"], ["A"], ["The sea"]]),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompt_is_the_golden_one(name: str) -> None:
    said = "".join(f"[{turn.role}]\n{turn.content}\n\n" for turn in PROMPTS[name]())
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(said, encoding="utf-8")
    assert said == file.read_text(encoding="utf-8")


def test_every_golden_prompt_is_still_asked() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(PROMPTS)
