"""Texts as vectors of a small embedding model, by which labels are searched for their meaning.

sentence-transformers (Reimers and Gurevych, 2019) reads the model's own pooling from its folder.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ray_autointerp.errors import UserError

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

_CACHE = Path("~/.cache/ray_autointerp/embeddings")
_DIGEST_BYTES = 16


class TextEmbedding:
    """`TextEmbedding()(texts)` are the texts' vectors. Each text is embedded once: vectors are kept
    in `cache`, a folder, a file for each model. The model is loaded at the first text that is new.
    """

    def __init__(self, model: str = DEFAULT_MODEL, cache: str | Path = _CACHE) -> None:
        self._name = os.path.expanduser(model)
        self._file = Path(cache).expanduser() / f"{_model_key(self._name)}.npz"
        self._model: Any = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 [num_texts, dim], rows of length 1 to half precision, in which they are kept.
        Raises UserError where the model cannot be loaded.
        """
        known = self._read()
        keys = [_digest(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            made = self._loaded().encode(
                list(new.values()), normalize_embeddings=True, show_progress_bar=False
            )
            known |= dict(zip(new, made.astype(np.float16), strict=True))
            self._write(known)
        vectors = [known[key] for key in keys]
        return np.stack(vectors).astype(np.float32) if vectors else np.zeros((0, 1), np.float32)

    def _loaded(self) -> Any:
        if self._model is None:
            try:
                from sentence_transformers import SentenceTransformer
                from transformers.utils.logging import disable_progress_bar
            except ImportError as error:
                raise UserError(
                    "Search by meaning needs the package sentence-transformers: "
                    "pip install 'ray_autointerp[semantic]'."
                ) from error
            logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
            disable_progress_bar()
            try:
                self._model = SentenceTransformer(self._name)
            except (OSError, ValueError) as error:
                why = str(error).strip().splitlines()[0]
                raise UserError(
                    f"The embedding model {self._name} cannot be loaded ({why}); name a folder "
                    "that holds one, or a model of the hub where that can be reached."
                ) from error
        return self._model

    def _read(self) -> dict[bytes, np.ndarray]:
        try:
            with np.load(self._file) as kept:
                keys, vectors = kept["keys"], kept["vectors"]
        except (OSError, ValueError, KeyError, BadZipFile):
            return {}  # not there, or of another version: made anew
        return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}

    def _write(self, known: dict[bytes, np.ndarray]) -> None:
        keys = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), _DIGEST_BYTES)
        part = self._file.with_suffix(f".{os.getpid()}.part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, keys=keys, vectors=np.stack(list(known.values())))
            part.replace(self._file)
        except OSError as error:  # the search is answered all the same
            logging.getLogger(__name__).warning("Embeddings are not kept (%s).", error)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _model_key(name: str) -> str:
    """A model of the hub by its name; a folder by its path, and what its files weigh."""
    folder = Path(name)
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    said = [str(folder.resolve()) if files else name]
    for file in files:
        stat = file.stat()
        said.append(f"{file.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}")
    return (
        f"{folder.name}-{hashlib.blake2b(chr(10).join(said).encode(), digest_size=8).hexdigest()}"
    )
