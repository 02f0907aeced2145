"""Vectors of texts, by a real small model from a package (all-MiniLM-L6-v2)."""

import sys
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


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("a trial and its outcome", 0), ("pets", 1), ("numbers and counting", 2)],
)
def test_text_is_nearest_to_the_label_that_means_it(
    embedding_model: str, tmp_path: Path, asked: str, nearest: int
) -> None:
    words = {word.strip('",;') for text in TEXTS for word in text.split()}
    assert not words & set(asked.split()) - {"and"}, "no word is shared"
    vectors = TextEmbedding(embedding_model, tmp_path)((asked, *TEXTS))
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=2e-3)
    assert int(np.argmax(vectors[1:] @ vectors[0])) == nearest


def test_each_text_is_embedded_once(
    embedding_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    asked: list[str] = []
    encode = SentenceTransformer.encode

    def counted(self: Any, texts: list[str], **given: Any) -> Any:
        asked.extend(texts)
        return encode(self, texts, **given)

    monkeypatch.setattr(SentenceTransformer, "encode", counted)
    embed = TextEmbedding(embedding_model, tmp_path)
    first = embed([TEXTS[0], TEXTS[1], TEXTS[0]])
    assert (first[0] == first[2]).all()
    again = TextEmbedding(embedding_model, tmp_path)([TEXTS[2], TEXTS[1], TEXTS[0]])
    assert asked == [TEXTS[0], TEXTS[1], TEXTS[2]]
    assert (again[[2, 1]] == first[[0, 1]]).all()
    assert TextEmbedding(embedding_model, tmp_path)([]).shape[0] == 0


def test_broken_file_of_vectors_is_made_anew(embedding_model: str, tmp_path: Path) -> None:
    first = TextEmbedding(embedding_model, tmp_path)(TEXTS)
    (kept,) = tmp_path.glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:200])
    assert (TextEmbedding(embedding_model, tmp_path)(TEXTS) == first).all()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_vectors_that_cannot_be_kept_are_answered_all_the_same(
    embedding_model: str, tmp_path: Path
) -> None:
    taken = tmp_path / "file"
    taken.touch()
    assert TextEmbedding(embedding_model, taken / "folder")(TEXTS[:1]).shape == (1, 384)


def test_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The embedding model .*none cannot be loaded \(.*name a"):
        TextEmbedding(str(tmp_path / "none"), tmp_path)(TEXTS)


def test_missing_package_is_named(
    embedding_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"ray_autointerp\[semantic\]"):
        TextEmbedding(embedding_model, tmp_path)(TEXTS)
