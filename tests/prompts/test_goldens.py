"""What every prompt says, word for word: a changed word is seen, and read, in a review.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/prompts/test_goldens.py`, then read the diff.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ray_autointerp.prompts import (
    detection,
    ensemble,
    fuzzing,
    judge,
    max_act,
    sentences,
    token_change,
    unseen_tokens,
    vocab_proj,
)
from ray_autointerp.prompts.ensemble import RawEvidence
from ray_autointerp.prompts.max_act import Example, MaxActEvidence
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.token_change import TokenChangeEvidence
from ray_autointerp.prompts.vocab_proj import VocabProjEvidence

GOLDEN = Path(__file__).parent / "golden"

EXAMPLES = MaxActEvidence(
    examples=(
        Example(("The", " owl", " cal", "ls", "\n", " at", " night"), (0, 8.0, 8.0, 4.0, 0, 0, 0)),
        Example((" an", " owl", "\n"), (0.0, 3.99, 0.4)),
    ),
    max_activation=8.0,
)
TOKENS = VocabProjEvidence((" hoot", " moon", "\n\n"), (" noon", '"'))
CHANGE = TokenChangeEvidence((" hoot", " dark"), (" bright",), (" noon",), ())

PROMPTS: dict[str, Callable[[], tuple[Message, ...]]] = {
    "max_act": lambda: max_act.ask(EXAMPLES, 25),
    "vocab_proj": lambda: vocab_proj.ask(TOKENS, 25),
    "token_change": lambda: token_change.ask(CHANGE, 25),
    "ensemble_raw": lambda: ensemble.ask(RawEvidence(EXAMPLES, TOKENS, CHANGE), 25),
    "ensemble_raw_never_active": lambda: ensemble.ask(RawEvidence(None, TOKENS, None), 25),
    "sentences": lambda: sentences.ask("responds to owls", 2),
    "detection": lambda: detection.ask(["I hoot\nat", "The sea"], "responds to owls", 2),
    "fuzzing": lambda: fuzzing.ask(["An <<owl>>\nat", "<<The>> owl"], "responds to owls", 1),
    "judge_two": lambda: judge.ask_two("responds to owls", ["I hoot\nat", "We"], ["The sea"]),
    "judge_tokens": lambda: unseen_tokens.ask("responds to owls", [" hoot", "\n"], ["sea", '"']),
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
