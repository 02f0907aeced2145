"""Tables: what was written comes back, in stable bytes, and damage is told."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_autointerp.errors import StoreError, TransientError
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.storage.names import MissingObject
from ray_autointerp.storage.parquet import (
    empty_table,
    read_metadata,
    read_table,
    read_tables,
    write_table,
)
from ray_autointerp.storage.s3 import S3Store
from ray_autointerp.storage.store import Store, open_store

SCHEMA = pa.schema(
    [
        pa.field("latent", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        ("status", pa.string()),
        ("values", pa.list_(pa.float32())),
        (
            "examples",
            pa.list_(pa.struct([("window", pa.int64()), ("texts", pa.list_(pa.string()))])),
        ),
    ]
)
KEY = ("latent", "split")
METADATA = {"step": "max_act", "run": "é"}


def some_rows(num_latents: int, first: int = 0) -> pa.Table:
    rng = random.Random(first)
    rows = [
        {
            "latent": latent,
            "split": split,
            "status": rng.choice(["ok", "no_evidence", None]),
            "values": rng.choice([None, [], [rng.random() for _ in range(5)]]),
            "examples": [{"window": rng.randrange(10**12), "texts": [" a", "ü", None]}]
            * (latent % 3),
        }
        for latent in range(first, first + num_latents)
        for split in ("explain", "score")
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(str(tmp_path_factory.mktemp("store")))


def test_table_comes_back_with_schema_order_and_metadata(store: Store) -> None:
    table = some_rows(40)
    assert write_table(store, "part", table, SCHEMA, METADATA, key=KEY)
    assert read_table(store, "part").equals(table)
    assert read_table(store, "part").schema == SCHEMA
    assert read_table(store, "part").schema.metadata is None
    assert read_metadata(store, "part") == METADATA


def test_second_table_is_refused_and_the_first_stays(store: Store) -> None:
    assert write_table(store, "part", some_rows(3), SCHEMA, METADATA, key=KEY)
    assert not write_table(store, "part", some_rows(4), SCHEMA, METADATA, key=KEY)
    assert read_table(store, "part").equals(some_rows(3))


def test_named_columns_come_in_the_order_asked_for(store: Store) -> None:
    write_table(store, "part", some_rows(5), SCHEMA, METADATA, key=KEY)
    back = read_table(store, "part", ["values", "latent"])
    assert back.equals(some_rows(5).select(["values", "latent"]))
    assert read_table(store, "part", []).num_columns == 0
    with pytest.raises(StoreError, match="part in .* has no column valeus"):
        read_table(store, "part", ["valeus"])


def test_row_groups_are_as_given_even_if_empty(store: Store) -> None:
    table = some_rows(10)
    write_table(store, "part", table, SCHEMA, METADATA, key=KEY, row_groups=[4, 0, 14, 2])
    assert read_table(store, "part", row_group=0).equals(table.slice(0, 4))
    assert read_table(store, "part", row_group=1).equals(table.slice(0, 0))
    assert read_table(store, "part", ["status"], 2).equals(table.slice(4, 14).select(["status"]))
    assert read_table(store, "part", row_group=3).equals(table.slice(18))
    assert read_table(store, "part").equals(table)
    for absent in (-1, 4):
        with pytest.raises(StoreError, match=f"no row group {absent}"):
            read_table(store, "part", row_group=absent)


@pytest.mark.parametrize("row_groups", [[], [19], [21], [21, -1]])
def test_row_groups_that_do_not_cover_the_rows_are_refused(
    folder: Store, row_groups: list[int]
) -> None:
    with pytest.raises(ValueError, match="20 rows"):
        write_table(folder, "part", some_rows(10), SCHEMA, {}, key=KEY, row_groups=row_groups)
    assert folder.list("") == []


def test_one_row_group_of_a_remote_table_is_read_without_the_others(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    noise = pa.table({"noise": [random.Random(i).randbytes(100_000) for i in range(40)]})
    write_table(store_behind_proxy, "part", noise, noise.schema, {}, row_groups=[1] * 40)
    before = proxy.num_bytes
    assert read_table(store_behind_proxy, "part", row_group=7).equals(noise.slice(7, 1))
    assert 100_000 < proxy.num_bytes - before < 400_000


def test_row_groups_without_a_wanted_value_are_not_read(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    rows = {
        "window": range(0, 120, 3),
        "noise": [random.Random(i).randbytes(100_000) for i in range(40)],
    }
    noise = pa.table(rows)
    write_table(store_behind_proxy, "part", noise, noise.schema, {}, row_groups=[4] * 10)
    before = proxy.num_bytes
    wanted = np.array([-1, 12, 14, 15, 30, 200])
    found = read_table(store_behind_proxy, "part", having=("window", wanted))
    assert found.equals(noise.take([4, 5, 10])), "14 lies between, and is not there"
    assert 700_000 < proxy.num_bytes - before < 1_200_000, "two groups of 400 kB"
    nothing = read_table(store_behind_proxy, "part", having=("window", np.array([119])))
    assert nothing.equals(noise.slice(0, 0))


def test_small_tables_are_read_by_one_request(store_behind_proxy: S3Store, proxy: Any) -> None:
    write_table(
        store_behind_proxy, "part", some_rows(9), SCHEMA, METADATA, key=KEY, row_groups=[6] * 3
    )
    before = proxy.num_calls
    assert read_table(store_behind_proxy, "part", ["latent"], 1).num_rows == 6
    assert proxy.num_calls - before == 2, "how large it is, and all of it"


@pytest.mark.parametrize("row_groups", [None, [6, 0, 8, 4]])
def test_values_inside_lists_are_read_by_path(folder: Store, row_groups: list[int] | None) -> None:
    table = some_rows(9)
    write_table(folder, "part", table, SCHEMA, METADATA, key=KEY, row_groups=row_groups)
    found = read_table(folder, "part", ["latent", "examples.list.element.window"])
    assert found.column_names == ["latent", "examples"]
    windows = [[{"window": e["window"]} for e in row["examples"]] for row in table.to_pylist()]
    assert found["examples"].to_pylist() == windows
    texts = ["examples.list.element.texts"]
    found = read_table(folder, "part", texts)
    shown = [[{"texts": e["texts"]} for e in row["examples"]] for row in table.to_pylist()]
    assert found["examples"].combine_chunks().to_pylist() == shown
    for columns in (None, ["latent"], texts):
        empty = empty_table(SCHEMA, columns)
        assert empty.schema == read_table(folder, "part", columns).schema and not empty.num_rows


def test_tables_follow_in_the_order_of_the_names(store: Store) -> None:
    names = [f"part-{i}" for i in (2, 0, 1)]
    for first, name in enumerate(names):
        write_table(store, name, some_rows(3, first * 100), SCHEMA, METADATA, key=KEY)
    tables = [some_rows(3, first * 100) for first in range(3)]
    assert read_tables(store, names).equals(pa.concat_tables(tables))
    column = pa.concat_tables(tables).select(["latent"])
    assert read_tables(store, names, ["latent"], 0).equals(column)


def test_tables_with_different_columns_are_not_joined(store: Store) -> None:
    other = pa.table({"latent": pa.array([1], pa.int64())})
    write_table(store, "a", some_rows(1), SCHEMA, {}, key=KEY)
    write_table(store, "b", other, other.schema, {})
    with pytest.raises(StoreError, match="b and a in"):
        read_tables(store, ["a", "b"])
    with pytest.raises(MissingObject, match="absent"):
        read_tables(store, ["a", "absent"])


@pytest.mark.parametrize("columns", [None, ["added", "latent", "examples"]])
def test_columns_and_nested_fields_that_an_older_object_lacks_are_null(
    folder: Store, columns: list[str] | None
) -> None:
    rows = some_rows(3)
    write_table(folder, "t.parquet", rows, SCHEMA, METADATA, key=KEY)
    example = pa.struct([*SCHEMA.field("examples").type.value_type, ("peak", pa.int16())])
    today = pa.schema(
        [*(SCHEMA.field(i) for i in (0, 1, 2)), ("added", pa.string())]
        + [("examples", pa.list_(example))]
    )
    found = read_table(folder, "t.parquet", columns, schema=today)
    assert found.schema.equals(today if columns is None else empty_table(today, columns).schema)
    assert found["added"].null_count == len(found) == len(rows)
    for now, then in zip(found.to_pylist(), rows.to_pylist(), strict=True):
        assert now["examples"] == [{**one, "peak": None} for one in then["examples"]]
        assert now["latent"] == then["latent"] and "values" not in now


@pytest.mark.parametrize("name", TABLES)
def test_every_table_of_the_package_survives_the_round_trip(folder: Store, name: str) -> None:
    schema = TABLES[name].schema
    write_table(folder, name, schema.empty_table(), schema, {}, key=TABLES[name].key)
    assert read_table(folder, name).schema == schema


def test_wrong_schema_is_refused_with_both_shown(folder: Store) -> None:
    table = some_rows(2)
    wrong = table.set_column(0, "latent", table["latent"].cast(pa.int64()))
    with pytest.raises(ValueError, match="wrong schema") as caught:
        write_table(folder, "part", wrong, SCHEMA, {}, key=KEY)
    assert "latent: int32 not null" in str(caught.value)
    assert "latent: int64" in str(caught.value)
    for other in (table.drop_columns("status"), table.select(SCHEMA.names[::-1])):
        with pytest.raises(ValueError, match="wrong schema"):
            write_table(folder, "part", other, SCHEMA, {}, key=KEY)
    assert folder.list("") == []


def test_null_in_a_key_is_refused(folder: Store) -> None:
    rows = [{"latent": None, "split": "score"}]
    with pytest.raises(ValueError, match="nulls in column latent"):
        write_table(folder, "part", pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA, {}, key=KEY)


KEYS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["explain", "score"])), max_size=6)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=200,
)
@given(KEYS)
def test_rows_out_of_order_or_twice_are_refused(folder: Store, keys: list[tuple[int, str]]) -> None:
    rows = [{"latent": latent, "split": split} for latent, split in keys]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    if keys == sorted(set(keys)):
        write_table(folder, "part", table, SCHEMA, {}, key=KEY)
    else:
        with pytest.raises(ValueError, match="not sorted by latent, split"):
            write_table(folder, "part", table, SCHEMA, {}, key=KEY)


def test_key_that_is_no_number_is_refused(folder: Store) -> None:
    table = pa.table({"kl_target": [0.25, float("nan")]})
    with pytest.raises(ValueError, match="not sorted"):
        write_table(folder, "part", table, table.schema, {}, key=["kl_target"])


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=25,
)
@given(st.lists(st.integers(0, 60), max_size=5), st.permutations(list(METADATA)))
def test_same_table_gives_the_same_bytes_however_it_was_put_together(
    folder: Store, cuts: list[int], metadata_order: list[str]
) -> None:
    table = some_rows(30)
    bounds = [0, *sorted(cuts), 60]
    pieces = [table.slice(a, b - a) for a, b in zip(bounds, bounds[1:], strict=False)]
    # Through Python and back: other buffers, other offsets, other null bitmaps.
    pieces[0] = pa.Table.from_pylist(pieces[0].to_pylist(), schema=SCHEMA)
    metadata = {key: METADATA[key] for key in metadata_order}
    write_table(folder, "one", table, SCHEMA, METADATA, key=KEY)
    pieces[-1] = read_table(folder, "one").slice(bounds[-2])
    joined = pa.concat_tables(pieces).replace_schema_metadata({"stray": "metadata"})
    write_table(folder, "other", joined, SCHEMA, metadata, key=KEY)
    try:
        assert folder.get("one") == folder.get("other")
    finally:
        folder.delete("one")
        folder.delete("other")


def test_pages_do_not_end_where_the_writers_batches_ended(folder: Store) -> None:
    rng = random.Random(0)
    table = pa.table({"answer": [rng.randbytes(10_000) for _ in range(300)]})
    batches = pa.concat_tables([table.slice(0, 150), table.slice(150)])
    write_table(folder, "one", table, table.schema, {})
    write_table(folder, "other", batches, table.schema, {})
    assert folder.get("one") == folder.get("other")


def test_changed_metadata_changes_the_bytes(folder: Store) -> None:
    write_table(folder, "one", some_rows(3), SCHEMA, METADATA, key=KEY)
    write_table(folder, "other", some_rows(3), SCHEMA, {**METADATA, "run": "x"}, key=KEY)
    assert folder.get("one") != folder.get("other")


def test_every_page_carries_a_checksum_that_is_verified(folder: Store) -> None:
    """A bit flipped anywhere in a page's bytes is told, with the object's name."""
    table = some_rows(30)
    write_table(folder, "good", table, SCHEMA, {}, key=KEY)
    good = folder.get("good")
    group = pq.ParquetFile(pa.BufferReader(good)).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    starts = [c.dictionary_page_offset or c.data_page_offset for c in columns]
    sizes = [c.total_compressed_size for c in columns]
    last_bytes = [start + size - 1 for start, size in zip(starts, sizes, strict=True)]
    in_dictionaries = [c.data_page_offset - 1 for c in columns if c.dictionary_page_offset]
    assert in_dictionaries
    for number, position in enumerate(last_bytes + in_dictionaries):
        bad = bytearray(good)
        bad[position] ^= 1
        folder.put_if_absent(f"bad-{number}", bytes(bad))
        for read in ({}, {"row_group": 0}):
            with pytest.raises(StoreError, match=f"bad-{number} in .* is corrupt.*CRC"):
                read_table(folder, f"bad-{number}", **read)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
)
@given(st.data())
def test_bit_flipped_ahead_of_the_footer_is_told_or_does_no_harm(
    folder: Store, data: st.DataObject
) -> None:
    """Page headers carry no checksum of their own."""
    write_table(folder, "good", some_rows(30), SCHEMA, {}, key=KEY)
    bad = bytearray(folder.get("good"))
    footer = len(bad) - 8 - int.from_bytes(bad[-8:-4], "little")
    bad[data.draw(st.integers(4, footer - 1))] ^= 1 << data.draw(st.integers(0, 7))
    folder.delete("bad")
    folder.put_if_absent("bad", bytes(bad))
    try:
        assert read_table(folder, "bad").equals(some_rows(30))
    except StoreError as error:
        assert "bad in" in str(error)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all" * 10])
def test_object_that_is_no_table_is_named(store: Store, data: bytes) -> None:
    store.put_if_absent("bad", data)
    calls: list[Any] = [read_table, read_metadata, lambda s, n: read_table(s, n, ["latent"])]
    for call in calls:
        with pytest.raises(StoreError, match="bad in .* is corrupt") as caught:
            call(store, "bad")
        assert "\n" not in str(caught.value)


def test_truncated_table_is_told(folder: Store) -> None:
    write_table(folder, "good", some_rows(30), SCHEMA, {}, key=KEY)
    good = folder.get("good")
    for kept in range(0, len(good), 97):
        folder.put_if_absent(f"bad-{kept}", good[:kept])
        with pytest.raises(StoreError, match=f"bad-{kept} in .* is corrupt"):
            read_table(folder, f"bad-{kept}")


def test_store_that_fails_while_a_table_is_read_is_not_called_corrupt(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    write_table(store_behind_proxy, "part", some_rows(3), SCHEMA, {}, key=KEY)
    proxy.faults = [("GET", 503)] * 100
    with pytest.raises(TransientError, match="503"):
        read_table(store_behind_proxy, "part", row_group=0)
    proxy.faults = [("GET", 503)]
    assert read_table(store_behind_proxy, "part", row_group=0).equals(some_rows(3))
    assert not proxy.faults


def test_floats_have_no_dictionary_wherever_they_stand(folder: Store) -> None:
    kinds = pa.list_(pa.struct([("token", pa.int32()), ("logit", pa.float32())]))
    schema = pa.schema([("name", pa.string()), ("score", pa.float64()), ("tokens", kinds)])
    row = {"name": "a", "score": 1.0, "tokens": [{"token": 3, "logit": 0.5}] * 2}
    write_table(folder, "part", pa.Table.from_pylist([row, row], schema=schema), schema, {})
    group = pq.ParquetFile(pa.BufferReader(folder.get("part"))).metadata.row_group(0)
    found = [group.column(i) for i in range(group.num_columns)]
    assert {c.path_in_schema: "RLE_DICTIONARY" in c.encodings for c in found} == {
        "name": True,
        "score": False,
        "tokens.list.element.token": True,
        "tokens.list.element.logit": False,
    }
