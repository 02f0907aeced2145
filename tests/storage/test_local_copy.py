"""A folder of a bucket, copied once to where libraries can read it."""

import re
import threading
from pathlib import Path

import pytest

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.local_copy import local_folder
from ray_autointerp.storage.store import open_store


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ray_autointerp" / "copies"


def test_copy_has_every_byte_is_made_once_and_anew_where_sizes_differ(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_autointerp.storage.local_copy._CHUNK", 3)
    store = open_store(f"s3://{bucket}/step_1")
    store.put_if_absent("cfg.json", b"{}")
    store.put_if_absent("deep/weights", b"0123456789")
    store.put_if_absent("empty", b"")
    copy = Path(local_folder(f"s3://{bucket}/step_1"))
    found = {str(p.relative_to(copy)): p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    assert found == {"cfg.json": b"{}", "deep/weights": b"0123456789", "empty": b""}
    (copy / "empty").write_bytes(b"ours")
    assert local_folder(f"s3://{bucket}/step_1") == str(copy)
    assert (copy / "empty").read_bytes() == b"ours", "not fetched again"
    store.put_if_absent("scale", b"1")
    assert local_folder(f"s3://{bucket}/step_1") != str(copy)
    assert len(list(cache.iterdir())) == 2, "nothing half is left"


def test_two_that_copy_at_once_get_one_copy(bucket: str, cache: Path) -> None:
    open_store(f"s3://{bucket}/a").put_if_absent("file", b"x" * 1000)
    found: list[str] = []
    both = [
        threading.Thread(target=lambda: found.append(local_folder(f"s3://{bucket}/a")))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(set(found)) == 1 and len(found) == 2
    assert len(list(cache.iterdir())) == 1


def test_files_that_are_not_asked_for_stay_in_the_bucket(bucket: str, cache: Path) -> None:
    store = open_store(f"s3://{bucket}/layers")
    for name in ("config", "W_1", "W_2"):
        store.put_if_absent(name, name.encode())
    first, second = (
        Path(local_folder(f"s3://{bucket}/layers", re.compile(out))) for out in ("W_2", "W_1")
    )
    assert {file.name for file in first.iterdir()} == {"config", "W_1"}
    assert {file.name for file in second.iterdir()} == {"config", "W_2"}


def test_local_folder_stays_and_an_empty_prefix_is_refused(bucket: str, tmp_path: Path) -> None:
    assert local_folder(str(tmp_path)) == str(tmp_path)
    with pytest.raises(StoreError, match=f"There is nothing at s3://{bucket}/none"):
        local_folder(f"s3://{bucket}/none")
