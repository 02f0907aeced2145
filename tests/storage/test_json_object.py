"""JSON on a store: stable bytes, no NaN, and a broken object that says its name."""

import pytest

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.json_object import get_json, put_json_if_absent
from ray_autointerp.storage.names import MissingObject
from ray_autointerp.storage.store import Store


def test_order_of_keys_does_not_change_the_bytes(store: Store) -> None:
    assert put_json_if_absent(store, "a.json", {"b": [1, None], "a": {"y": "ü", "x": 0.1}})
    assert put_json_if_absent(store, "b.json", {"a": {"x": 0.1, "y": "ü"}, "b": [1, None]})
    assert store.get("a.json") == store.get("b.json")
    assert get_json(store, "a.json") == {"b": [1, None], "a": {"y": "ü", "x": 0.1}}


def test_second_value_is_refused(store: Store) -> None:
    assert put_json_if_absent(store, "a.json", 1)
    assert not put_json_if_absent(store, "a.json", 2)
    assert get_json(store, "a.json") == 1


def test_nan_is_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        put_json_if_absent(store, "a.json", {"x": float("nan")})
    assert not store.exists("a.json")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00"])
def test_object_that_is_no_json_is_named(store: Store, data: bytes) -> None:
    store.put_if_absent("bad.json", data)
    with pytest.raises(StoreError, match=r"bad\.json"):
        get_json(store, "bad.json")
    with pytest.raises(MissingObject):
        get_json(store, "absent.json")
