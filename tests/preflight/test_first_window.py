"""The corpus's first window as `plan` shows it, and what completes the config's words for it."""

import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from byte_tokenizers import GPT2
from rich.console import Console

from ray_autointerp.config import Config
from ray_autointerp.errors import CorpusError
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.plan.first_window import FirstWindow
from ray_autointerp.preflight.check import check
from ray_autointerp.preflight.first_window import first_window
from ray_autointerp.reports.window_text import window_text

Planted = Callable[..., Config]
TEMPLATE = "<s>{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"


@pytest.fixture
def window(
    quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FirstWindow]:
    """window(documents, **corpus settings), as GPT-2's kind of tokenizer reads them."""
    monkeypatch.setattr(GPT2.hf, "chat_template", TEMPLATE, raising=False)
    monkeypatch.setattr(SubjectTokenizer, "load", lambda *_, **__: GPT2)

    def make(rows: list[dict[str, Any]], **settings: Any) -> FirstWindow:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus.parquet")
        corpus = {
            "path": str(tmp_path / "corpus.parquet"),
            "id_column": None,
            "window": 128,
            "prepend_bos": True,
        }
        return first_window(quick_config(tmp_path, {"corpus": corpus | settings}), 10_000)

    return make


def told(window: FirstWindow, width: int = 80, color_system: Any = None) -> str:
    console = Console(
        width=width,
        file=io.StringIO(),
        color_system=color_system,
        force_terminal=bool(color_system),
    )
    console.print(*window_text(window), sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("excluded", "left_out", "counted"),
    [
        (None, "<s>", "<|user|>, <|end|>"),
        (False, "<s>", "<|user|>, <|end|>"),
        ([GPT2.hf.convert_tokens_to_ids("<|end|>")], "<s>, <|end|>", "<|user|>"),
    ],
)
def test_chat_is_shown_with_its_templates_tokens_and_those_that_count(
    window: Callable[..., FirstWindow], excluded: Any, left_out: str, counted: str
) -> None:
    chat = [{"role": "user", "content": "hello \U0001f600"}]
    made = window([{"chat": chat}], messages_column="chat", exclude_special_tokens=excluded)
    text = told(made)
    assert "⟦<s>⟧⟦<|user|>⟧hello \U0001f600⟦<|end|>⟧" in text
    assert "messages of column chat in the chat template" in " ".join(text.split())
    assert f"looked at on {left_out} (corpus.exclude_special_tokens)" in " ".join(text.split())
    assert f"count as any other: {counted}." in text


def test_ids_of_another_tokenizer_are_seen_by_their_text(
    window: Callable[..., FirstWindow],
) -> None:
    ids = GPT2.encode("</s>right, this is the text")
    made = window([{"ids": ids}], tokens_column="ids")
    text = told(made)
    assert "token ids of column ids, decoded" in text
    assert "⟦</s>⟧right, this is the text" in text
    assert "looked at on </s> (" in text, "it stands for BOS, and no second one is added"
    wrong = told(window([{"ids": [token + 1 for token in ids]}], tokens_column="ids"))
    assert "right, this is the text" not in wrong


@pytest.mark.parametrize("color_system", [None, "truecolor"])
def test_hostile_text_is_text_and_lines_are_no_wider_than_the_console(
    window: Callable[..., FirstWindow], color_system: Any
) -> None:
    hostile = "\x1b[31m[red]x[/red]\x1b]0;title\x07 " + "\u4e2d" * 60 + " [/nothing]"
    text = told(window([{"text": "", "id": "\x1b[2J"}, {"text": hostile}]), 80, color_system)
    assert "\\x1b[31m[red]x[/red]\\x1b]0;title\\x07" in text
    assert "\x1b]0" not in text and "\x1b[31m" not in text and "\x07" not in text
    if color_system is None:
        cells = [sum(1 + (char == "\u4e2d") for char in line) for line in text.splitlines()]
        assert max(cells) <= 80


def test_long_window_is_shown_in_part_and_says_so(window: Callable[..., FirstWindow]) -> None:
    text = told(window([{"text": "ab" * 500}]))
    assert "128 tokens, of which 96 are shown" in " ".join(text.split())
    assert "…" in text


def test_document_without_a_window_is_passed_over_and_none_is_refused(
    window: Callable[..., FirstWindow],
) -> None:
    assert window([{"text": "<s>"}, {"text": "words"}]).document_id == "1"
    with pytest.raises(CorpusError, match="no text"):
        window([{"text": "<s>"}])
    with pytest.raises(CorpusError, match="position 1 .* token id 10000"):
        window([{"ids": [1, 10_000]}], tokens_column="ids")


@pytest.mark.parametrize(
    ("metadata", "said", "used"),
    [
        ({}, None, True),
        ({"exclude_special_tokens": False}, None, False),
        ({"exclude_special_tokens": [0, 2]}, None, (0, 2)),
        ({"exclude_special_tokens": True}, False, False),
        ({"exclude_special_tokens": [0, 2]}, [0, 2], (0, 2)),
    ],
)
def test_tokens_left_out_are_those_of_the_saes_training_unless_the_config_says(
    quick_config: Planted,
    planted: PlantedTruth,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    metadata: dict[str, Any],
    said: Any,
    used: Any,
) -> None:
    folder = shutil.copytree(planted.folder / "sae", tmp_path / "sae")
    card = json.loads((folder / "cfg.json").read_text())
    card["metadata"] |= metadata
    (folder / "cfg.json").write_text(json.dumps(card))
    config = quick_config(tmp_path / "runs", {"corpus": {"exclude_special_tokens": said}})
    sae = config.sae[0].model_copy(update={"path": str(folder)})
    with caplog.at_level(logging.WARNING):
        found = check(config.model_copy(update={"sae": (sae,)}))
    assert found.config.corpus.exclude_special_tokens == used
    trained = metadata.get("exclude_special_tokens", used)
    is_told = "exclude_special_tokens" in caplog.text
    assert is_told == ((tuple(trained) if isinstance(trained, list) else trained) != used)
