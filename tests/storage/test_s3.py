"""What only a network store can get wrong: lost replies, refusals, pages, credentials."""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from ray_autointerp.errors import StoreError, TransientError
from ray_autointerp.storage.s3 import S3Store
from ray_autointerp.storage.store import open_store

pytestmark = pytest.mark.slow


def test_put_whose_reply_was_lost_knows_itself_again(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    proxy.faults = [("PUT", "lose_reply")]
    assert store_behind_proxy.put_if_absent("part", b"mine")
    assert not proxy.faults
    assert store_behind_proxy.get("part") == b"mine"
    assert not store_behind_proxy.put_if_absent("part", b"mine")


def test_put_that_lost_its_request_and_then_the_race_says_so(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    store_behind_proxy.put_if_absent("part", b"same bytes")
    proxy.faults = [("PUT", "lose_reply"), ("PUT", 503)]
    assert not store_behind_proxy.put_if_absent("part", b"same bytes")
    assert not proxy.faults


def test_race_with_lost_replies_still_has_one_winner(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    proxy.faults = [("PUT", "lose_reply")] * 12
    with ThreadPoolExecutor(8) as pool:
        told = list(
            pool.map(lambda i: store_behind_proxy.put_if_absent("part", b"%d" % i), range(8))
        )
    assert sum(told) == 1
    assert store_behind_proxy.get("part") == b"%d" % told.index(True)


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_put_refused_for_a_moment_succeeds_later(
    store_behind_proxy: S3Store, proxy: Any, status: int
) -> None:
    proxy.faults = [("PUT", status)] * 3
    assert store_behind_proxy.put_if_absent("part", b"1")
    assert not proxy.faults
    assert store_behind_proxy.get("part") == b"1"


@pytest.mark.parametrize("fault", ["lose_reply", "cut_reply", 503])
def test_get_that_broke_is_read_again_whole(
    store_behind_proxy: S3Store, proxy: Any, fault: str | int
) -> None:
    data = b"0123456789" * 10_000
    store_behind_proxy.put_if_absent("part", data)
    proxy.faults = [("GET", fault)] * 2
    assert store_behind_proxy.get("part") == data
    proxy.faults = [("GET", fault)]
    assert store_behind_proxy.get_range("part", 1, 50_000) == data[1:50_001]
    assert not proxy.faults


def test_list_that_broke_is_asked_again(store_behind_proxy: S3Store, proxy: Any) -> None:
    store_behind_proxy.put_if_absent("part", b"1")
    proxy.faults = [("GET", "cut_reply"), ("GET", 503)]
    assert store_behind_proxy.list("") == ["part"]
    assert not proxy.faults


@pytest.mark.parametrize("fault", [503, 409, "lose_reply"])
def test_store_that_stays_busy_is_a_transient_error(
    store_behind_proxy: S3Store, proxy: Any, fault: str | int
) -> None:
    proxy.faults = [("GET", fault)] * 100
    with pytest.raises(TransientError, match="Cannot read part in s3://") as caught:
        store_behind_proxy.get("part")
    assert caught.value.can_retry
    assert 1 < proxy.num_calls < 20


@pytest.mark.parametrize("status", [501, 400])
def test_store_that_does_not_know_the_request_is_not_asked_again(
    store_behind_proxy: S3Store, proxy: Any, status: int
) -> None:
    proxy.faults = [("PUT", status)]
    with pytest.raises(StoreError, match=f"{status} Not now") as caught:
        store_behind_proxy.put_if_absent("part", b"")
    assert not caught.value.can_retry
    assert proxy.num_calls == 1


def test_refused_credentials_are_one_sentence(store_behind_proxy: S3Store, proxy: Any) -> None:
    proxy.faults = [("GET", 403)]
    with pytest.raises(StoreError, match="credentials in use are refused") as caught:
        store_behind_proxy.list("")
    assert "\n" not in str(caught.value)


def test_absent_bucket_is_named(bucket: str) -> None:
    store = open_store(f"s3://{bucket}-absent/runs")
    calls: list[Callable[[], object]] = [
        lambda: store.put_if_absent("x", b""),
        lambda: store.get("x"),
        lambda: store.list(""),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=f"there is no bucket '{bucket}-absent'"):
            call()


def test_absent_credentials_are_one_sentence(bucket: str, aws_chain: pytest.MonkeyPatch) -> None:
    aws_chain.delenv("AWS_ACCESS_KEY_ID")
    aws_chain.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="credentials") as caught:
        open_store(f"s3://{bucket}").list("")
    assert not caught.value.can_retry
    assert "\n" not in str(caught.value)


def test_unreachable_endpoint_is_one_sentence_and_may_be_tried_again(
    aws_chain: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        aws_chain.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(StoreError, match="endpoint cannot be reached") as caught:
            S3Store("bucket", pause_s=0).list("")
    assert caught.value.can_retry
    assert "\n" not in str(caught.value)


def test_list_of_many_pages_is_complete_though_one_page_broke(
    store_behind_proxy: S3Store, proxy: Any
) -> None:
    names = [f"part-{i:05d}" for i in range(11)]
    for name in names:
        store_behind_proxy.put_if_absent(name, b"")
    S3Store(store_behind_proxy.bucket, "runs/one2").put_if_absent("other", b"")
    proxy.page_size = 3
    before = proxy.num_calls
    assert store_behind_proxy.list("") == names
    assert proxy.num_calls - before == 4, "the test wants four pages"
    proxy.faults = [("GET", "cut_reply")]
    assert store_behind_proxy.list("") == names


def test_keys_that_are_no_names_are_not_listed(bucket: str) -> None:
    client = boto3.session.Session().client("s3")
    for key in ("run/", "run/folder/", "run//x", "run/../x", "run/.hidden", "run/a"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert open_store(f"s3://{bucket}/run").list("") == ["a"]


@pytest.mark.parametrize("mode", ["when_required", "when_supported"])
def test_puts_are_conditional_in_both_checksum_modes(
    bucket: str, aws_chain: pytest.MonkeyPatch, mode: str
) -> None:
    aws_chain.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", mode)
    aws_chain.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", mode)
    store = open_store(f"s3://{bucket}")
    assert store.put_if_absent("part", b"1")
    assert not store.put_if_absent("part", b"2")
    assert store.get("part") == b"1"


def test_nothing_is_contacted_before_the_first_request(aws_chain: pytest.MonkeyPatch) -> None:
    aws_chain.setenv("AWS_PROFILE", "absent")
    store = open_store("s3://bucket/run").child("sae")
    assert store.uri == "s3://bucket/run/sae"
    with pytest.raises(StoreError, match="absent"):
        store.list("")
