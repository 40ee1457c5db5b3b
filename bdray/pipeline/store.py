"""Where stage results live: a folder for each key, complete if and only if its manifest is there."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs

from bdray.exceptions import StoreError

Manifest = dict[str, Any]
MANIFEST = "manifest.json"


class Store:
    """Results of stages by key, in a local folder or under any URI that pyarrow reads (``s3://bucket/path``).

    The manifest is written last, and files are only ever added under names that carry their hash, so two writers of one
    key are harmless, also where a GPU gives each of them other last bits, and a reader never sees half a result.
    """

    def __init__(self, uri: str, cache: Path) -> None:
        """Open a store.

        Args:
            uri: Folder or URI.
            cache: Local folder for copies of remote files and for the state of unfinished stages of a remote store.

        Raises:
            StoreError: If the URI is not understood.
        """
        self.uri = uri
        self._cache = cache
        is_local = "://" not in uri or uri.startswith("file://")
        self._local = Path(uri.removeprefix("file://")).expanduser().absolute() if is_local else None
        try:
            if self._local is not None:
                base: pyarrow.fs.FileSystem = pyarrow.fs.LocalFileSystem()
                root = str(self._local)
            else:
                base, root = pyarrow.fs.FileSystem.from_uri(uri)
        except (ValueError, OSError) as error:
            raise StoreError(
                f"store {uri!r}: is not a place that can be opened ({_one_line(error)}). Give a folder or a URI "
                "such as s3://bucket/path."
            ) from error
        self._fs = pyarrow.fs.SubTreeFileSystem(root, base)

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            StoreError: If that does not work.
        """
        probe = f"probe-{uuid.uuid4().hex}"
        try:
            if self._local is not None:
                self._local.mkdir(parents=True, exist_ok=True)
            with self._fs.open_output_stream(probe) as file:
                file.write(b"bdray")
            self._fs.delete_file(probe)
        except OSError as error:
            raise StoreError(
                f"store {self.uri!r}: cannot be written ({_one_line(error)}). Give a place you may write with --store."
            ) from error

    def find(self, stage: str, key: str) -> Manifest | None:
        """The manifest of a finished stage, or None.

        Raises:
            StoreError: If there is a manifest that cannot be read.
        """
        path = f"{_folder(stage, key)}/{MANIFEST}"
        try:
            with self._fs.open_input_stream(path) as file:
                manifest: Manifest = json.loads(file.read())
                return manifest
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(
                f"store {self.uri!r}: {path} cannot be read ({_one_line(error)}). Give another store, or remove that "
                "folder to compute it again."
            ) from error

    def manifests(self, stage: str, limit: int) -> Iterator[Manifest]:
        """Manifests of finished stages of one kind: so many at most, always the same ones of the same results.

        What cannot be read is passed over, for it is nobody's input here.
        """
        folders = self._fs.get_file_info(pyarrow.fs.FileSelector(stage, allow_not_found=True))
        for key in sorted(folder.base_name for folder in folders)[:limit]:
            try:
                manifest = self.find(stage, key)
            except StoreError:
                continue
            if manifest is not None:
                yield manifest

    def fetch(self, stage: str, key: str, name: str) -> Path:
        """A local path of one file of a finished stage, checked against the hash in its manifest.

        Raises:
            StoreError: If the stage is not finished, or the file is missing or damaged.
        """
        manifest = self.find(stage, key)
        if manifest is None or name not in manifest["files"]:
            raise StoreError(f"store {self.uri!r}: {stage} {key} has no file {name}.")
        expected = manifest["files"][name]["sha256"]
        source = f"{_folder(stage, key)}/{_stored_name(name, expected)}"
        path = self._local / source if self._local is not None else self._cache / "store" / source
        try:
            if self._local is None and not path.exists():
                self._copy(source, path)
            is_intact = _sha256(path) == expected
            if not is_intact and self._local is None:  # the copy may be damaged where the store is not
                self._copy(source, path)
                is_intact = _sha256(path) == expected
        except OSError as error:
            raise StoreError(f"store {self.uri!r}: {source} cannot be read ({_one_line(error)}).") from error
        if not is_intact:
            raise StoreError(
                f"store {self.uri!r}: {source} is damaged: its hash is not the manifest's. Remove its folder to "
                "compute it again."
            )
        return path

    def save(self, stage: str, key: str, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
        """Add a finished stage: its files first, its manifest last. Returns the manifest with the files' hashes."""
        folder = _folder(stage, key)
        hashes = {name: _sha256(path) for name, path in files.items()}
        entries = {name: {"sha256": hashes[name], "bytes": path.stat().st_size} for name, path in files.items()}
        manifest = {**manifest, "stage": stage, "key": key, "files": entries}
        try:
            self._fs.create_dir(folder, recursive=True)
            for name, path in files.items():
                self._put(path.read_bytes(), f"{folder}/{_stored_name(name, hashes[name])}")
            self._put(json.dumps(manifest, indent=1, allow_nan=False).encode(), f"{folder}/{MANIFEST}")
        except OSError as error:
            raise StoreError(f"store {self.uri!r}: {folder} cannot be written ({_one_line(error)}).") from error
        return manifest

    def workspace(self, stage: str, key: str) -> Path:
        """Local folder for the state of an unfinished stage; survives the process, not the stage's end."""
        return (self._local or self._cache) / "unfinished" / f"{stage}-{key}"

    def _copy(self, source: str, path: Path) -> None:
        """Bring a file of a remote store here, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        pyarrow.fs.copy_files(source, str(partial), self._fs, pyarrow.fs.LocalFileSystem())
        os.replace(partial, path)

    def _put(self, content: bytes, path: str) -> None:
        """Write a file so that it appears whole or not at all."""
        partial = f"{path}.{uuid.uuid4().hex}" if self._local is not None else path  # object stores are atomic
        with self._fs.open_output_stream(partial) as file:
            file.write(content)
        if partial != path:
            self._fs.move(partial, path)


def _folder(stage: str, key: str) -> str:
    return f"{stage}/{key}"


def _stored_name(name: str, sha256: str) -> str:
    """``model.safetensors`` as ``model-1f89bac7.safetensors``."""
    path = Path(name)
    return f"{path.stem}-{sha256[:8]}{path.suffix}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
