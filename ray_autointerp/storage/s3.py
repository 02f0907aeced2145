"""The store in an S3 bucket, by `put_object` with `If-None-Match: *`.

boto3's own retries are off: they would hide that a refused put was this call's own earlier try,
stored but never acknowledged. Each put carries an attempt id, by which it knows itself again.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

from boto3.session import Session
from botocore import exceptions as aws
from botocore.config import Config

from ray_autointerp.errors import StoreError, TransientError
from ray_autointerp.storage.names import MissingObject, checked_name, checked_prefix, is_allowed

_T = TypeVar("_T")

_TRIES = 8
_TRIES_UNREACHABLE = 3
_LONGEST_PAUSE_S = 5.0
_REFUSED = 412
_BUSY = {408, 409, 429, 500, 502, 503, 504, "RequestTimeout", "SlowDown", "Throttling"}
"""Statuses and codes that may pass. 409 answers a put that raced with another one."""
_LOST_REPLY = (aws.HTTPClientError, aws.IncompleteReadError, aws.ChecksumError)
_ATTEMPT = "attempt"

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    retries={"total_max_attempts": 1, "mode": "standard"},
    # Newer checksum trailers are unknown to many servers; a put is signed over its bytes anyway.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


class UnreachableStore(StoreError):
    """Nobody answers at the endpoint: wrong for a person, but a worker may find it back later."""

    can_retry = True


class _Client:
    """One boto3 client per process, made when first needed; it does not travel."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._client: Any = None

    def __call__(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = Session().client("s3", config=_CONFIG)
            return self._client

    def __reduce__(self) -> tuple[type["_Client"], tuple[()]]:
        return _Client, ()


@dataclass(frozen=True)
class S3Store:
    """A store under `s3://bucket/prefix`. `pause_s` is the first pause before a retry, seconds."""

    bucket: str
    prefix: str = ""
    pause_s: float = 0.2
    _client: _Client = field(default_factory=_Client, repr=False, compare=False)

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".removesuffix("/")

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """A conditional put. A refusal counts as success where the object is this call's own."""
        key, attempt = self._key(name), uuid4().hex

        def put(client: Any) -> bool:
            try:
                client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=data,
                    IfNoneMatch="*",
                    Metadata={_ATTEMPT: attempt},
                )
            except aws.ClientError as error:
                if _status(error) != _REFUSED:
                    raise
                there = client.head_object(Bucket=self.bucket, Key=key)
                return bool(there["Metadata"].get(_ATTEMPT) == attempt)
            return True

        return self._tried(f"write {name}", put)

    def get(self, name: str) -> bytes:
        """The whole object; MissingObject if it is not there."""
        return self._read(name)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Bytes `start` to `start + length`; StoreError where the object ends before."""
        if length == 0:
            return b""
        data = self._read(name, Range=f"bytes={start}-{start + length - 1}")
        if len(data) != length:
            raise StoreError(f"{name} in {self.uri} ends before byte {start + length}.")
        return data

    def size(self, name: str) -> int:
        """The object's size in bytes; MissingObject if it is not there."""
        return int(self._head(name)["ContentLength"])

    def exists(self, name: str) -> bool:
        """Whether the object is there. A bucket that is not there holds no object."""
        try:
            self._head(name)
        except MissingObject:
            return False
        return True

    def folders(self) -> list[str]:
        """The names of the folders directly under the root, sorted."""
        root = f"{self.prefix}/" if self.prefix else ""
        pages = self._pages("list folders", Prefix=root, Delimiter="/")
        found = (
            entry["Prefix"].removeprefix(root).rstrip("/")
            for page in pages
            for entry in page.get("CommonPrefixes", ())
        )
        return sorted(name for name in found if is_allowed(name))

    def list(self, prefix: str = "") -> list[str]:
        """The names that begin with `prefix`, sorted. Keys that are no names are left out."""
        return [*self.sizes(prefix)]

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Names as `list` has them, with their sizes in bytes."""
        root = f"{self.prefix}/" if self.prefix else ""
        pages = self._pages(f"list {prefix!r}", Prefix=root + checked_prefix(prefix))
        found = {
            entry["Key"].removeprefix(root): entry["Size"]
            for page in pages
            for entry in page.get("Contents", ())
        }
        return {name: found[name] for name in sorted(found) if is_allowed(name)}

    def _pages(self, action: str, **request: str) -> Iterator[Any]:
        """The pages of a listing."""
        request["Bucket"] = self.bucket
        while True:
            page = self._tried(action, lambda client: client.list_objects_v2(**request))
            yield page
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def child(self, name: str) -> "S3Store":
        """The store whose root is this folder of this one; it shares the connection."""
        return S3Store(self.bucket, self._key(name), self.pause_s, self._client)

    def delete(self, name: str) -> None:
        """Remove an object, if there."""
        key = self._key(name)
        self._tried(
            f"delete {name}", lambda client: client.delete_object(Bucket=self.bucket, Key=key)
        )

    def _key(self, name: str) -> str:
        checked_name(name)
        return f"{self.prefix}/{name}" if self.prefix else name

    def _head(self, name: str) -> Any:
        key = self._key(name)
        return self._tried(
            f"read {name}", lambda client: client.head_object(Bucket=self.bucket, Key=key)
        )

    def _read(self, name: str, **extra: str) -> bytes:
        key = self._key(name)

        def read(client: Any) -> bytes:
            reply = client.get_object(Bucket=self.bucket, Key=key, **extra)
            with closing(reply["Body"]) as body:
                return bytes(body.read())

        return self._tried(f"read {name}", read)

    def _tried(self, action: str, call: Callable[[Any], _T]) -> _T:
        """Call until it answers, with growing, jittered pauses while the failure may pass."""
        for num_tries in range(1, _TRIES + 1):
            try:
                return call(self._client())
            except (aws.BotoCoreError, aws.ClientError) as error:
                failure = self._failure(action, error)
                enough = _TRIES_UNREACHABLE if isinstance(failure, UnreachableStore) else _TRIES
                if not failure.can_retry or num_tries >= enough:
                    raise failure from error
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, self.pause_s * 2**num_tries)))
        raise AssertionError("the last try returns or raises")

    def _failure(
        self, action: str, error: aws.BotoCoreError | aws.ClientError
    ) -> StoreError | TransientError:
        message = f"Cannot {action} in {self.uri}"
        if isinstance(error, aws.ClientError):
            status, code = _status(error), str(error.response["Error"].get("Code", ""))
            if code == "NoSuchBucket":
                return StoreError(f"{message}: there is no bucket {self.bucket!r}.")
            if status == 404:
                return MissingObject(f"{message}: it is not there.")
            reason = f"{status} {error.response['Error'].get('Message') or code}".rstrip(".")
            if {status, code} & _BUSY:
                return TransientError(f"{message}: the store answers {reason}.")
            if status in (401, 403):
                return StoreError(f"{message}: the credentials in use are refused ({reason}).")
            return StoreError(f"{message}: the store answers {reason}.")
        reason = str(error).rstrip(".")
        if isinstance(error, aws.ConnectionError):
            return UnreachableStore(f"{message}: the endpoint cannot be reached ({reason}).")
        if isinstance(error, _LOST_REPLY):
            return TransientError(f"{message}: the connection broke ({reason}).")
        return StoreError(f"{message}: {reason}.")


def _status(error: aws.ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
