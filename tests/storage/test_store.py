"""What every store promises, on a folder and on S3 alike."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.errors import StoreError
from ray_autointerp.records.keys import slug
from ray_autointerp.storage.names import MissingObject, checked_name, is_allowed
from ray_autointerp.storage.store import Store, open_store

ESCAPES = [
    "",
    "/etc/passwd",
    "../up",
    "a/../../up",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "..\\up",
    ".hidden",
    "a/.hidden/b",
    "a\x00b",
    "a\nb",
    "x" * 300,
    "/".join(["y" * 100] * 11),
]


def test_object_put_once_is_read_back_whole(store: Store) -> None:
    data = bytes(range(256)) * 1000
    assert store.put_if_absent("sae/one/part-0.parquet", data)
    assert store.get("sae/one/part-0.parquet") == data
    assert store.exists("sae/one/part-0.parquet")
    assert store.size("sae/one/part-0.parquet") == len(data)
    assert store.get_range("sae/one/part-0.parquet", 250, 10) == data[250:260]


def test_empty_object_is_an_object(store: Store) -> None:
    assert store.put_if_absent("empty", b"")
    assert store.get("empty") == b""
    assert store.exists("empty")
    assert store.get_range("empty", 0, 0) == b""


def test_second_put_is_refused_and_changes_nothing(store: Store) -> None:
    assert store.put_if_absent("manifest.json", b"first")
    assert not store.put_if_absent("manifest.json", b"second")
    assert not store.put_if_absent("manifest.json", b"first")
    assert store.get("manifest.json") == b"first"


def test_sixteen_racing_writers_have_one_winner_whose_bytes_stay(store: Store) -> None:
    start = Barrier(16)

    def write(writer: int) -> bool:
        start.wait()
        return store.put_if_absent("folder/contested", b"%d" % writer * 10_000)

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(write, range(16)))
    assert sum(told) == 1
    assert store.get("folder/contested") == b"%d" % told.index(True) * 10_000
    assert store.list("") == ["folder/contested"]


@pytest.mark.parametrize("read", ["get", "size"])
def test_absent_object_is_named_in_the_error(store: Store, read: str) -> None:
    store.put_if_absent("a/b", b"")
    for name in ("nothing", "a", "a/b/c"):
        assert not store.exists(name)
        with pytest.raises(MissingObject, match=name) as caught:
            getattr(store, read)(name)
        assert store.uri in str(caught.value)
        assert not caught.value.can_retry


@pytest.mark.parametrize(("start", "length"), [(3, 3), (5, 1), (9, 1)])
def test_range_that_leaves_the_object_is_an_error(store: Store, start: int, length: int) -> None:
    store.put_if_absent("five", b"12345")
    assert store.get_range("five", 3, 2) == b"45"
    with pytest.raises(StoreError, match="five"):
        store.get_range("five", start, length)


def test_list_is_recursive_sorted_and_relative(store: Store) -> None:
    names = ["b/2", "b/10", "a", "b/c/d", "bb/1", "é/ü"]
    for name in names:
        store.put_if_absent(name, b"")
    assert store.list("") == sorted(names)
    assert store.list("b/") == ["b/10", "b/2", "b/c/d"]
    assert store.list("b") == ["b/10", "b/2", "b/c/d", "bb/1"]
    assert store.list("b/c/d") == ["b/c/d"]
    assert store.list("nowhere/") == []


def test_sizes_are_those_of_what_is_listed_and_folders_are_the_top_ones(store: Store) -> None:
    for name, size in (("b/part-1", 3), ("a/deep/part-2", 0), ("top", 1), ("a/part-3", 5)):
        store.put_if_absent(name, b"x" * size)
    assert store.sizes() == {"a/deep/part-2": 0, "a/part-3": 5, "b/part-1": 3, "top": 1}
    assert [*store.sizes()] == store.list()
    assert store.sizes("a/") == {"a/deep/part-2": 0, "a/part-3": 5}
    assert store.folders() == ["a", "b"]
    assert store.child("a").folders() == ["deep"]
    assert store.child("nowhere").folders() == []


def test_empty_store_lists_nothing_and_is_not_made_by_looking(store: Store) -> None:
    assert store.list("") == []
    assert not store.exists("x")


def test_child_sees_only_its_folder_and_its_uri_opens_it(store: Store) -> None:
    child = store.child("runs/one").child("sae")
    child.put_if_absent("labels", b"1")
    store.put_if_absent("runs/one/sae2/labels", b"2")
    assert child.list("") == ["labels"]
    assert store.get("runs/one/sae/labels") == b"1"
    assert open_store(child.uri).get("labels") == b"1"
    assert open_store(store.uri + "/").list("") == ["runs/one/sae/labels", "runs/one/sae2/labels"]


def test_delete_removes_only_that_object_and_minds_no_absence(store: Store) -> None:
    store.put_if_absent("a", b"")
    store.put_if_absent("ab", b"")
    store.delete("a")
    store.delete("a")
    assert store.list("") == ["ab"]
    assert store.put_if_absent("a", b"again")


@pytest.mark.parametrize("name", ESCAPES)
def test_name_that_could_leave_the_root_is_refused_by_every_method(store: Store, name: str) -> None:
    calls = [store.get, store.size, store.exists, store.child, store.delete]
    calls += [lambda n: store.put_if_absent(n, b""), lambda n: store.get_range(n, 0, 1)]
    if name not in ("", "a/"):
        calls.append(store.list)
    for call in calls:
        with pytest.raises(StoreError, match="not allowed"):
            call(name)


@given(st.text(min_size=1, max_size=16))
def test_every_slug_is_an_allowed_name(text: str) -> None:
    assert checked_name(f"sae/{slug(text)}/labels.parquet")


@given(st.text(alphabet="a./\\ ", max_size=12))
def test_allowed_name_resolves_below_the_root(name: str) -> None:
    depth, lowest = 0, 1
    for part in name.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        lowest = min(lowest, depth)
    if is_allowed(name):
        assert lowest == 1 and not name.startswith("/") and "\\" not in name


def test_pickled_store_still_reads_and_writes(store: Store) -> None:
    store.put_if_absent("before", b"1")
    copy = pickle.loads(pickle.dumps(store.child("runs")))
    assert copy.put_if_absent("after", b"2")
    assert store.list("") == ["before", "runs/after"]
    assert copy.uri == store.child("runs").uri


@pytest.mark.parametrize(
    "uri", ["", "gs://bucket/x", "s3://", "s3:///x", "s3://a b/x", "file:///x"]
)
def test_uri_that_is_no_store_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="s3://bucket/prefix"):
        open_store(uri)


def test_s3_prefix_that_leaves_the_bucket_is_refused() -> None:
    with pytest.raises(StoreError, match="not allowed"):
        open_store("s3://bucket/a/../b")
