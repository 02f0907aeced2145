"""What only a folder can get wrong: dead writers, links, and other processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ray_autointerp
from ray_autointerp.errors import StoreError
from ray_autointerp.storage.store import open_store

WRITER = """
import os, sys
from pathlib import Path
from ray_autointerp.storage.folder import FolderStore
store = FolderStore(Path(sys.argv[1]))
def die(*args, **kwargs):
    os._exit(9)
"""


def start_writer(root: Path, code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER + code, str(root), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(ray_autointerp.__file__).parents[1])},
    )


def test_sixteen_racing_processes_have_one_winner(tmp_path: Path) -> None:
    code = """
print("ready", flush=True)
sys.stdin.readline()
print(store.put_if_absent("a/b/contested", sys.argv[2].encode() * 100_000))
"""
    writers = [start_writer(tmp_path, code, chr(ord("a") + i)) for i in range(16)]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    told = [writer.communicate()[0].strip() for writer in writers]
    assert sorted(told) == ["False"] * 15 + ["True"]
    winner = chr(ord("a") + told.index("True"))
    assert open_store(str(tmp_path)).get("a/b/contested") == winner.encode() * 100_000
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["contested"]


@pytest.mark.parametrize("last_act", ["os.link", "os.fsync"])
def test_writer_that_dies_before_the_link_leaves_nothing_to_see(
    tmp_path: Path, last_act: str
) -> None:
    (tmp_path / "sae").mkdir()
    writer = start_writer(tmp_path, f"{last_act} = die\nstore.put_if_absent('sae/part', b'half')")
    writer.communicate()
    assert writer.returncode == 9
    assert list((tmp_path / "sae").iterdir()), "the test wants a temporary file left behind"
    store = open_store(str(tmp_path))
    assert store.list("") == []
    assert not store.exists("sae/part")
    assert store.put_if_absent("sae/part", b"whole")
    assert store.get("sae/part") == b"whole"
    assert store.list("sae/") == ["sae/part"]


def test_writer_that_dies_after_the_link_has_published(tmp_path: Path) -> None:
    code = "Path.unlink = die\nstore.put_if_absent('part', b'whole')"
    writer = start_writer(tmp_path, code)
    writer.communicate()
    assert writer.returncode == 9
    store = open_store(str(tmp_path))
    assert store.get("part") == b"whole"
    assert not store.put_if_absent("part", b"other")
    assert store.list("") == ["part"]


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_answer(
    tmp_path: Path,
) -> None:
    code = """
import stat
def told(name, act):
    def wrapped(target, *args):
        is_open = isinstance(target, int)
        kind = "folder" if is_open and stat.S_ISDIR(os.fstat(target).st_mode) else "file"
        print(name, kind)
        return act(target, *args)
    return wrapped
os.link, os.fsync = told("link", os.link), told("fsync", os.fsync)
print(store.put_if_absent("part", b"1"))
print(store.put_if_absent("part", b"2"))
"""
    acts = start_writer(tmp_path, code).communicate()[0].splitlines()
    once = ["fsync file", "link file", "fsync folder"]
    assert acts == [*once, "True", *once, "False"]


@pytest.mark.parametrize("name", ["out/x", "out", "out_file"])
def test_symbolic_link_out_of_the_root_is_refused(tmp_path: Path, name: str) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "x").write_bytes(b"secret")
    (root / "out").symlink_to(outside)
    (root / "out_file").symlink_to(outside / "x")
    store = open_store(str(root))
    calls = [store.get, store.exists, store.child, store.delete, lambda n: store.list(f"{n}/")]
    for call in [*calls, lambda n: store.put_if_absent(n, b"")]:
        with pytest.raises(StoreError, match="symbolic link"):
            call(name)
    assert store.list("") == []
    assert (outside / "x").read_bytes() == b"secret"


def test_child_replaced_by_a_link_afterwards_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    child = open_store(str(tmp_path / "root")).child("run")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "run").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="symbolic link"):
        child.put_if_absent("x", b"")
    with pytest.raises(StoreError, match="symbolic link"):
        child.list("")


def test_root_that_is_itself_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    store = open_store(str(tmp_path / "root"))
    assert store.put_if_absent("a/b", b"1")
    assert store.list("") == ["a/b"]
    assert (tmp_path / "disk" / "a" / "b").read_bytes() == b"1"


def test_relative_root_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put_if_absent("x", b"1")
    assert (tmp_path / "runs" / "x").exists()
    assert store.uri == str(tmp_path / "runs")


def test_folder_in_an_objects_place_is_an_error_and_not_a_loser(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_if_absent("a/b", b"")
    with pytest.raises(StoreError, match="Cannot write a in"):
        store.put_if_absent("a", b"")
    with pytest.raises(StoreError, match="Cannot write a/b/c in"):
        store.put_if_absent("a/b/c", b"")


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="is a file"):
        open_store(str(tmp_path / "file"))


def test_disk_error_is_one_sentence_that_names_object_and_store(tmp_path: Path) -> None:
    code = """
import errno
def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")
os.fsync = full
try:
    store.put_if_absent("part", b"1")
except Exception as error:
    print(type(error).__name__, error.can_retry, error)
print(os.listdir(sys.argv[1]))
"""
    told = start_writer(tmp_path, code).communicate()[0].splitlines()
    assert told == [
        f"StoreError False Cannot write part in {tmp_path}: No space left on device.",
        "[]",
    ]
