"""Where bytes are kept: a folder, also of a network file system, or an object store, behind one interface."""

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import TypeVar

import pyarrow.fs

from bdray.data.places import patient
from bdray.exceptions import StoreError

T = TypeVar("T")
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each further attempt, after those that the client of an object store makes by itself."""
PASSING = {errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT}
"""What a network file system says when it should be asked again."""
LASTING = (
    *("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_SIGNATURE"),
    *("INVALID_CLIENT_TOKEN_ID", "MISSING_AUTHENTICATION_TOKEN", "UNRECOGNIZED_CLIENT", "PERMISSION_DENIED"),
    *("Permission denied", "UNAUTHENTICATED", "anonymous caller", "HTTP status 403", "HTTP status 401"),
)
"""What an object store says when there is no use in asking again."""


@dataclass(frozen=True)
class Stored:
    """One file of a place."""

    path: str
    bytes: int
    changed: float
    """Seconds since 1970."""


class Place:
    """Files by relative path. What is written appears whole or not at all; passing trouble is waited for.

    All methods raise StoreError for trouble that stays, with the place, the path and the reason; those that read raise
    FileNotFoundError for what is not there.
    """

    def __init__(self, uri: str) -> None:
        """Open a place, which need not exist yet.

        Raises:
            StoreError: If the URI is not understood, or holds a password.
        """
        self.uri = uri
        is_folder = "://" not in uri or uri.startswith("file://")
        self.folder = Path(uri.removeprefix("file://")).expanduser().absolute() if is_folder else None
        """None for an object store."""
        if "@" in uri and not is_folder:
            scheme, _, rest = uri.partition("://")
            raise StoreError(
                f"store {scheme}://…@{rest.rpartition('@')[2]}: has credentials in it, which would be in every log. "
                "Give them in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        try:
            if self.folder is not None:
                base: pyarrow.fs.FileSystem = pyarrow.fs.LocalFileSystem()
                root = str(self.folder)
            else:
                base, root = pyarrow.fs.FileSystem.from_uri(uri)
        except (ValueError, OSError) as error:
            raise StoreError(
                f"store {uri!r}: is not a place that can be opened ({_one_line(error)}). Give a folder or a URI "
                "such as s3://bucket/path."
            ) from error
        self._fs = pyarrow.fs.SubTreeFileSystem(root, patient(base))

    def check_writable(self, role: str = "store", *, leave_nothing: bool = False) -> None:
        """Write and remove a small file.

        Args:
            role: What the place is for, which is the name of the option that gives it.
            leave_nothing: Remove the folders, too, that had to be made.

        Raises:
            StoreError: If that does not work.
        """
        probe, made = f"probe-{uuid.uuid4().hex}", list[Path]()
        try:
            if self.folder is not None:
                made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
                self.folder.mkdir(parents=True, exist_ok=True)
            self._persist(lambda: self._write(probe, b"bdray"))
            self._persist(lambda: self._fs.delete_file(probe))
        except OSError as error:
            raise StoreError(
                f"{role} {self.uri!r}: cannot be written ({_one_line(error)}). Give a place you may write with "
                f"--{role}."
            ) from error
        finally:
            for path in made if leave_nothing else ():
                with suppress(OSError):  # it was never made, or somebody else has put something there
                    path.rmdir()

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return self._try(path, "read", lambda: self._read(path))

    def sha256(self, path: str) -> str:
        """Hash of a file, without keeping a copy of it."""
        return self._try(path, "read", lambda: self._sha256(path))

    def download(self, path: str, target: Path) -> None:
        """Copy a file to a local path."""

        def copy() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
            try:
                pyarrow.fs.copy_files(path, str(partial), self._fs, pyarrow.fs.LocalFileSystem())
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)

        self._try(path, "read", copy)

    def upload(self, source: Path, path: str) -> None:
        """Copy a local file here."""

        def copy() -> None:
            partial = self._partial(path)
            try:
                pyarrow.fs.copy_files(str(source), partial, pyarrow.fs.LocalFileSystem(), self._fs)
                if partial != path:
                    self._fs.move(partial, path)
            except OSError:
                if self.folder is not None:  # a disk that is full must not be filled with halves of files
                    (self.folder / partial).unlink(missing_ok=True)
                raise

        self._try(path, "written", copy)

    def claim(self, path: str, content: bytes) -> bool:
        """Write a file unless there is one. Returns whether it was written.

        In a folder exactly one of several writers succeeds. An object store has no such promise: of two that write in
        the same instant both succeed, and one content stays.
        """
        return self._try(path, "written", lambda: self._claim(path, content))

    def move(self, path: str, target: str) -> None:
        """Give a file another path."""

        def move() -> None:
            if self.folder is not None:
                (self.folder / target).parent.mkdir(parents=True, exist_ok=True)
            self._fs.move(path, target)

        self._try(path, "moved", move)

    def remove(self, path: str) -> None:
        """Delete a file; that it is gone already is fine."""
        try:
            self._try(path, "removed", lambda: self._fs.delete_file(path))
        except FileNotFoundError:
            return

    def remove_folder(self, path: str) -> None:
        """Delete a folder and all that is in it; that it is gone already is fine."""
        try:
            self._try(path, "removed", lambda: self._fs.delete_dir(path))
        except FileNotFoundError:
            return

    def files(self, folder: str = "") -> list[Stored]:
        """All files below a folder, by path; none if there is no such folder."""
        found = self._list(folder, recursive=True)
        return [
            Stored(info.path, info.size, info.mtime.timestamp() if info.mtime else 0.0)
            for info in sorted(found, key=lambda info: str(info.path))
            if info.type == pyarrow.fs.FileType.File
        ]

    def names(self, folder: str) -> list[str]:
        """What is in a folder, in order."""
        return sorted(info.base_name for info in self._list(folder, recursive=False))

    def _list(self, folder: str, *, recursive: bool) -> "list[pyarrow.fs.FileInfo]":
        selector = pyarrow.fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
        return self._try(folder or ".", "listed", lambda: self._fs.get_file_info(selector))

    def _read(self, path: str) -> bytes:
        with self._fs.open_input_stream(path) as file:
            content: bytes = file.read()
        return content

    def _sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._fs.open_input_stream(path) as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
        return digest.hexdigest()

    def _write(self, path: str, content: bytes) -> None:
        with self._fs.open_output_stream(path) as file:
            file.write(content)

    def _claim(self, path: str, content: bytes) -> bool:
        if self.folder is None:
            if self._fs.get_file_info(path).type != pyarrow.fs.FileType.NotFound:
                return False
            self._write(path, content)
            return True
        partial = self._partial(path)
        self._write(partial, content)
        try:
            os.link(self.folder / partial, self.folder / path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            os.rename(self.folder / partial, self.folder / path)  # no links here: the last one wins
        finally:
            (self.folder / partial).unlink(missing_ok=True)
        return True

    def _partial(self, path: str) -> str:
        """Where to write what is to appear at a path; object stores show nothing before it is whole."""
        if self.folder is None:
            return path
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        return f"{path}.{uuid.uuid4().hex}"

    def _try(self, path: str, what: str, action: Callable[[], T]) -> T:
        try:
            return self._persist(action)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"store {self.uri!r}: {path} cannot be {what} ({_one_line(error)}).") from error

    def _persist(self, action: Callable[[], T]) -> T:
        """Do something, again after pauses for as long as the trouble looks as if it could pass."""
        for pause in PAUSES:
            try:
                return action()
            except OSError as error:
                if not self._may_pass(error):
                    raise
            time.sleep(pause * SystemRandom().uniform(0.5, 1))  # or all workers would come back at once
        return action()

    def _may_pass(self, error: OSError) -> bool:
        if self.folder is not None:
            return error.errno in PASSING
        return not isinstance(error, FileNotFoundError) and not any(word in str(error) for word in LASTING)


def local_sha256(path: Path) -> str:
    """Hash of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
