"""A folder of a bucket as a folder of this machine, for libraries that read paths alone."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.store import Store, open_store

_CHUNK = 64 * 2**20
"""Bytes fetched at once: weights do not fit into memory twice."""


def local_folder(path: str, left_out: re.Pattern[str] | None = None) -> str:
    """A local path as it is; of `s3://bucket/prefix` a copy, made once on each machine.

    The copy lies below `~/.cache/ray_autointerp/copies` (or `$XDG_CACHE_HOME`). It is made anew
    where names or sizes in the bucket are others. Files whose name `left_out` matches are not
    copied. Raises StoreError.
    """
    if not path.startswith("s3://"):
        return path
    store = open_store(path)
    sizes = {
        name: size
        for name, size in store.sizes().items()
        if left_out is None or not left_out.fullmatch(name)
    }
    if not sizes:
        raise StoreError(f"There is nothing at {path}.")
    key = hashlib.sha256(f"{path} {sorted(sizes.items())}".encode()).hexdigest()[:16]
    copies = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    copy = copies / "ray_autointerp" / "copies" / f"{key}-{path.rstrip('/').rpartition('/')[2]}"
    if not copy.is_dir():
        copy.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=copy.parent, prefix="."))
        try:
            for name, size in sizes.items():
                _fetch(store, name, size, made / name)
            made.rename(copy)
        except OSError:
            if not copy.is_dir():  # else another process was quicker
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return str(copy)


def _fetch(store: Store, name: str, size: int, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("xb") as file:
        for start in range(0, size, _CHUNK):
            file.write(store.get_range(name, start, min(_CHUNK, size - start)))
