"""What the split cannot serve is refused right after the corpus step; short windows are used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_autointerp.config import Config
from ray_autointerp.errors import CorpusError
from ray_autointerp.llm.scripted import ScriptedLLM, planted_script
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.plan.shards import Axes
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.stages import corpus, overlap

WORDS = "the a and then we saw it was near some".split()


def text(number: int, length: int) -> str:
    """Texts of which no two share a run of words."""
    return " ".join(WORDS[(number // 10 ** (i % 3) + i) % 10] for i in range(length))


@pytest.fixture
def split(quick_config: Callable[..., Config], tmp_path: Path) -> Callable[..., WorkerContext]:
    """split(texts): a run whose corpus and overlap steps are done."""

    def make(texts: list[str]) -> WorkerContext:
        path = tmp_path / "corpus.parquet"
        pq.write_table(pa.Table.from_pylist([{"text": text} for text in texts]), path)
        changes: dict[str, Any] = {
            "corpus": {"path": str(path), "id_column": None, "window": 32, "prepend_bos": True},
            "evidence": {"change_window_tokens": 16, "change_windows": 8},
        }
        config = quick_config(tmp_path / "runs", changes)
        run = Run(config, Axes(1, {}, 1, 1, {}, 4, 4), str(tmp_path / "run"))
        context = WorkerContext(run, llm=ScriptedLLM(planted_script))
        corpus.run(Task("corpus", None, None, 0, 1), context)
        overlap.run(Task("overlap", None, None, 0, 1), context)
        return context

    return make


@pytest.mark.parametrize("texts", [[text(1, 60)], [text(1, 60)] * 40], ids=["one", "copies"])
def test_corpus_on_one_side_is_refused_with_what_to_do(
    split: Callable[..., WorkerContext], texts: list[str]
) -> None:
    with pytest.raises(
        CorpusError, match=r"( 0 windows| and 0 of other).* 2 and 4 .*more documents"
    ):
        split(texts)


@pytest.mark.parametrize(("words", "tokens"), [(9, 10), (40, 16)])
def test_windows_are_as_long_as_configured_or_as_the_texts(
    split: Callable[..., WorkerContext], words: int, tokens: int
) -> None:
    context = split([text(number, words) for number in range(200)])
    explain, score = (change_windows(context.tables, side, 8) for side in ("explain", "score"))
    assert explain.shape == score.shape == (8, tokens), "BOS and the text, as far as configured"
    assert (change_windows(context.tables, "explain", 24)[:8] == explain).all(), (
        "a longer list begins so"
    )
