"""The store in a local (or shared) folder.

An object appears by `link`, which is atomic and fails where the name is taken, after its bytes
reached the disk. A writer that dies leaves a hidden temporary file that nobody ever looks at.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ray_autointerp.errors import StoreError, TransientError
from ray_autointerp.storage.names import MissingObject, checked_name, checked_prefix, is_allowed

_MAY_PASS = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}


@dataclass(frozen=True)
class FolderStore:
    """A store under `root`, an absolute path; `inside` is the part of it that `child` added."""

    root: Path
    inside: str = ""

    @property
    def uri(self) -> str:
        """The folder's absolute path."""
        return str(self.root / self.inside)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write, fsync, link, fsync the folder. True if the link is this call's own."""
        path = self._path(name)
        with self._as_store_error(f"write {name}"):
            if path.is_dir():
                raise StoreError(f"Cannot write {name} in {self.uri}: a folder has that name.")
            temporary = path.with_name(f".{path.name}.{uuid4().hex}")
            try:
                _write_new(temporary, data)
                is_ours = _link(temporary, path)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            # Also when another was first: whoever is told "it is there" may build upon it.
            _sync_folder(path.parent)
            return is_ours

    def get(self, name: str) -> bytes:
        """The whole object; MissingObject if it is not there."""
        path = self._path(name)
        with self._as_store_error(f"read {name}"):
            return path.read_bytes()

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Bytes `start` to `start + length`; StoreError where the object ends before."""
        path = self._path(name)
        with self._as_store_error(f"read {name}"), path.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise StoreError(f"{name} in {self.uri} ends before byte {start + length}.")
        return data

    def size(self, name: str) -> int:
        """The object's size in bytes; MissingObject if it is not there."""
        path = self._path(name)
        with self._as_store_error(f"read {name}"):
            if path.is_dir():
                raise IsADirectoryError
            return path.stat().st_size

    def exists(self, name: str) -> bool:
        """Whether the object is there; a folder of that name is no object."""
        return self._path(name).is_file()

    def folders(self) -> list[str]:
        """The names of the folders directly under the root, sorted. Links are no folders."""
        with self._as_store_error("list ''"), suppress(FileNotFoundError):
            entries = os.scandir(self._top())
            found = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            return sorted(name for name in found if is_allowed(name))
        return []

    def list(self, prefix: str = "") -> list[str]:
        """The names that begin with `prefix`, sorted. Hidden files and links are no objects."""
        folder = checked_prefix(prefix).rpartition("/")[0]
        start = self._path(folder) if folder else self._top()
        with self._as_store_error(f"list {prefix!r}"):
            names = _files_below(start, f"{folder}/" if folder else "")
            return sorted(name for name in names if name.startswith(prefix) and is_allowed(name))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Names as `list` has them, with their sizes in bytes."""
        return {name: self.size(name) for name in self.list(prefix)}

    def child(self, name: str) -> "FolderStore":
        """The store whose root is this folder of this one."""
        self._path(name)
        return FolderStore(self.root, f"{self.inside}/{name}" if self.inside else name)

    def delete(self, name: str) -> None:
        """Remove an object, if there, and the store's folder if it is then empty."""
        path = self._path(name)
        with self._as_store_error(f"delete {name}"):
            path.unlink(missing_ok=True)
            with suppress(OSError):
                self._top().rmdir()

    def _top(self) -> Path:
        return self._followed(self.inside)

    def _path(self, name: str) -> Path:
        checked_name(name)
        return self._followed(f"{self.inside}/{name}" if self.inside else name)

    def _followed(self, name: str) -> Path:
        """The path of a name, having made sure that no link on the way leads elsewhere."""
        path = os.path.realpath(self.root)
        for part in filter(None, name.split("/")):
            path = os.path.join(path, part)
            if os.path.islink(path):
                raise StoreError(
                    f"{name} in {self.root} passes through a symbolic link; remove it."
                )
        return Path(path)

    @contextmanager
    def _as_store_error(self, action: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise MissingObject(f"Cannot {action} in {self.uri}: it is not there.") from error
        except OSError as error:
            kind = TransientError if error.errno in _MAY_PASS else StoreError
            hint = "; this file system has no hard links" if error.errno in _NO_LINKS else ""
            raise kind(f"Cannot {action} in {self.uri}: {error.strerror}{hint}.") from error


def _make_folders(folder: Path) -> None:
    """Make the folder and its parents, each recorded on the disk by its own parent."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _write_new(path: Path, data: bytes) -> None:
    for is_last in (False, False, True):
        _make_folders(path.parent)
        try:
            _write_to_disk(path, data)
        except FileNotFoundError:  # another's probe took the folder away that it left empty
            if is_last:
                raise
        else:
            return


def _write_to_disk(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        # Over NFS a link whose reply was lost is sent again, and then finds itself.
        return os.path.samefile(temporary, path)
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files_below(folder: Path, name: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path), f"{name}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield f"{name}{entry.name}"
