"""What tests of whole runs share."""

import hashlib
from collections.abc import Callable

import pytest

from ray_autointerp.storage.store import open_store

Contents = Callable[[str], dict[str, str]]


@pytest.fixture(scope="session")
def contents() -> Contents:
    return _contents


def _contents(uri: str) -> dict[str, str]:
    """Digest of every table of a run; ledger and raw answers tell of attempts and are left out."""
    store = open_store(uri)
    names = [name for name in store.list("") if name.endswith(".parquet")]
    return {
        name: hashlib.sha256(store.get(name)).hexdigest()
        for name in names
        if not name.startswith(("ledger/", "answers/"))
    }
