"""A store that ignores the condition is found out; an honest one passes and stays clean."""

from typing import Any

import pytest

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.probe import conditional_put_holds, require_conditional_put
from ray_autointerp.storage.s3 import S3Store
from ray_autointerp.storage.store import Store

pytestmark = pytest.mark.slow


def test_honest_store_passes_and_is_left_clean(store: Store) -> None:
    store.put_if_absent("manifest.json", b"1")
    result = conditional_put_holds(store)
    assert result.holds
    assert result.num_winners == (1, 1, 1)
    require_conditional_put(store)
    assert store.list("") == ["manifest.json"]


def test_store_that_ignores_the_condition_is_refused_in_one_sentence(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    proxy.num_ignored_conditions = 1000
    result = conditional_put_holds(store_behind_proxy, writers=4, rounds=2)
    assert not result.holds
    assert result.num_winners == (4, 4)
    with pytest.raises(StoreError, match="does not honour conditional puts") as caught:
        require_conditional_put(store_behind_proxy)
    assert store_behind_proxy.uri in str(caught.value)
    assert "16 were told" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store_behind_proxy.list("") == []


def test_store_that_overwrites_only_later_puts_is_refused(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    """One writer: the race shows nothing, the second put does."""
    proxy.num_ignored_conditions = 1000
    result = conditional_put_holds(store_behind_proxy, writers=1, rounds=1)
    assert result.num_winners == (1,)
    assert not result.holds


def test_store_that_lets_racing_writers_through_and_no_later_one_is_refused(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    proxy.num_ignored_conditions = 4
    result = conditional_put_holds(store_behind_proxy, writers=4, rounds=2)
    assert result.num_winners == (4, 1)
    assert result.num_overwritten == 0
    assert not result.holds


def test_probe_that_fails_in_the_middle_still_tidies_up(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    proxy.faults = [("GET", 400)]
    with pytest.raises(StoreError):
        conditional_put_holds(store_behind_proxy)
    assert store_behind_proxy.list("") == []
