"""Names of objects: which are allowed, the same for a folder and a bucket.

A name is relative, its parts joined by `/`, and can never leave the root. Parts that begin with
a dot are refused: a folder keeps its unfinished writes under such names. Knows no store.
"""

from ray_autointerp.errors import StoreError

_PART_BYTES = 200
"""File systems allow 255 bytes a part; the rest is for the folder's temporary names."""
_NAME_BYTES = 900
"""S3 allows keys of 1024 bytes; the rest is for the root's own prefix."""


class MissingObject(StoreError):
    """No object of that name is there."""


def checked_name(name: str) -> str:
    """The name as given; StoreError if it is not one that a store may hold."""
    problem = _problem(name)
    if problem:
        raise StoreError(f"The object name {name!r} is not allowed: {problem}.")
    return name


def is_allowed(name: str) -> bool:
    """Whether `checked_name` would return."""
    return not _problem(name)


def checked_prefix(prefix: str) -> str:
    """The start of a name as given: a name, a name with `/` after it, or nothing."""
    if prefix:
        checked_name(prefix.removesuffix("/"))
    return prefix


def _problem(name: str) -> str:
    if not name.isprintable():
        return "it holds a character that cannot be printed"
    if "\\" in name:
        return "it holds a backslash"
    if name.startswith("/"):
        return "it is absolute"
    parts = name.split("/")
    if "" in parts:
        return "it has an empty part"
    if any(part.startswith(".") for part in parts):
        return "a part of it begins with a dot"
    if len(name.encode()) > _NAME_BYTES or any(len(p.encode()) > _PART_BYTES for p in parts):
        return f"it is longer than {_NAME_BYTES} bytes, or a part of it than {_PART_BYTES}"
    return ""
