"""The interface to files: what a store promises, and how to open one.

There is one way to write, put-if-absent, and an object that exists is whole (architecture,
section 5). Nothing is ever altered. Knows no tables: those are in parquet.py.
"""

import re
from pathlib import Path
from typing import Protocol

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.folder import FolderStore
from ray_autointerp.storage.names import checked_name
from ray_autointerp.storage.s3 import S3Store

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


class Store(Protocol):
    """A root under which objects are written once. Picklable, and safe to share by threads.

    Every method raises StoreError where the store cannot work at all or the name is not allowed,
    and an error with `can_retry` where it may work later.
    """

    @property
    def uri(self) -> str:
        """What `open_store` makes this store from."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write the object unless it exists. True exactly if this call wrote it; never half."""

    def get(self, name: str) -> bytes:
        """The whole object; MissingObject if it is not there."""

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Bytes `start` to `start + length`, which must lie inside; MissingObject if not there."""

    def size(self, name: str) -> int:
        """The object's size in bytes; MissingObject if it is not there."""

    def exists(self, name: str) -> bool:
        """Whether the object is there, and so whole."""

    def folders(self) -> list[str]:
        """The names of the folders directly under the root, sorted."""

    def list(self, prefix: str = "") -> list[str]:
        """The names that begin with `prefix`, at any depth, relative to the root, sorted."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The same names with the objects' sizes in bytes."""

    def child(self, name: str) -> "Store":
        """The store whose root is this folder of this one."""

    def delete(self, name: str) -> None:
        """Remove an object, if there. For probes, heartbeats and pruned answers: no table of a run
        is ever removed.
        """


def open_store(uri: str) -> Store:
    """The store at a local folder's path or at `s3://bucket/prefix`. Touches nothing yet.

    S3 finds endpoint, region and credentials where the AWS tools do (`AWS_ENDPOINT_URL_S3`,
    `AWS_PROFILE`, ...); they are never part of the URI.
    """
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise StoreError(f"{uri!r} names no bucket; write s3://bucket/prefix.")
        prefix = prefix.removesuffix("/")
        return S3Store(bucket, checked_name(prefix) if prefix else "")
    if not uri or "://" in uri:
        raise StoreError(f"{uri!r} is no store; give a folder's path or s3://bucket/prefix.")
    root = Path(uri).expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise StoreError(f"The store {uri} is a file; give a folder.")
    return FolderStore(root)
