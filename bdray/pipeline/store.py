"""Where stage results live: a folder for each key, complete if and only if its manifest is there."""

import json
import logging
import platform
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdray import config
from bdray.exceptions import LostResultError, StoreError
from bdray.pipeline.place import Place, local_sha256

Manifest = dict[str, Any]
MANIFEST = "manifest.json"
SEAL = "seal"
"""Field of a manifest: hash of all the others. Results of older versions have none."""
DAMAGED, UNFINISHED = "damaged", "unfinished"
"""Folders of what was set aside, and of the state of stages that are not finished."""
NOTE = "note.json"

_log = logging.getLogger(__name__)


class Store:
    """Results of stages by key, in a local folder or under any URI that pyarrow reads (``s3://bucket/path``).

    The manifest is written last, and files are only ever added under names that carry their hash, so two writers of one
    key are harmless, also where a GPU gives each of them other last bits: the first manifest stays, and a reader never
    sees half a result. Everything is checked when it is read. What is damaged is set aside and counts as missing.
    """

    def __init__(self, uri: str, cache: Path) -> None:
        """Open a store.

        Args:
            uri: Folder or URI.
            cache: Local folder for copies of remote files, the state of unfinished stages among them.

        Raises:
            StoreError: If the URI is not understood.
        """
        self.uri = uri
        self.place = Place(uri)
        """The files, for whoever looks after the store as a whole."""
        self._cache = cache

    def check_writable(self, *, leave_nothing: bool = False) -> None:
        """Write and remove a small file, and the folders that had to be made for it, if nothing is to be left.

        Raises:
            StoreError: If that does not work.
        """
        self.place.check_writable(leave_nothing=leave_nothing)

    def find(self, stage: str, key: str) -> Manifest | None:
        """The manifest of a finished stage; None if there is none, or a damaged one, which a new result replaces.

        Raises:
            StoreError: If the store does not answer.
        """
        try:
            return self.manifest(stage, key)
        except ValueError:
            return None

    def manifest(self, stage: str, key: str) -> Manifest | None:
        """The manifest of a finished stage, or None.

        Raises:
            ValueError: If it is damaged; says how.
            StoreError: If the store does not answer.
        """
        try:
            content = self.place.read(f"{_folder(stage, key)}/{MANIFEST}")
        except FileNotFoundError:
            return None
        found = json.loads(content)
        if not isinstance(found, dict) or (found.get("stage"), found.get("key")) != (stage, key):
            raise ValueError(f"is not the manifest of {stage} {key}")
        if SEAL in found and found[SEAL] != _seal(found):
            raise ValueError("its hash is not the one it was written with")
        return found

    def manifests(self, stage: str, limit: int) -> Iterator[Manifest]:
        """Manifests of finished stages of one kind: so many at most, always the same ones of the same results.

        What cannot be read is passed over, for it is nobody's input here.
        """
        for key in self.place.names(stage)[:limit]:
            try:
                manifest = self.find(stage, key)
            except StoreError:
                continue
            if manifest is not None:
                yield manifest

    def fetch(self, stage: str, key: str, name: str) -> Path:
        """A local path of one file of a finished stage, checked against the hash in its manifest.

        Raises:
            LostResultError: If the stage is not finished, or the file is missing or damaged; then its result was set
                aside.
            StoreError: If the store does not answer.
        """
        manifest = self.find(stage, key)
        if manifest is None or name not in manifest["files"]:
            raise LostResultError(f"store {self.uri!r}: {stage} {key} has no file {name}.", key)
        expected = manifest["files"][name]["sha256"]
        source = stored_path(stage, key, name, expected)
        found = ""
        for _ in range(2):  # twice, for a copy may be damaged where the store is not, and a reading may fail
            with suppress(FileNotFoundError):
                path = self._bring(source)
                found = self._hash(path)
                if found == expected:
                    return path
                if self.place.folder is None:
                    path.unlink(missing_ok=True)
        reason = "its hash is not the manifest's" if found else "it is gone"
        self.set_aside(stage, key, source, reason)
        raise LostResultError(
            f"store {self.uri!r}: {source} is damaged: {reason}. It was set aside; run the study again to compute it "
            "anew.",
            key,
        )

    def save(self, stage: str, key: str, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
        """Add a finished stage: its files first, its manifest last.

        Returns:
            The manifest that the store has now, with the files' hashes: this one, or that of another writer who was
            first.
        """
        hashes = {name: local_sha256(path) for name, path in files.items()}
        entries = {name: {"sha256": hashes[name], "bytes": path.stat().st_size} for name, path in files.items()}
        manifest = {**manifest, "stage": stage, "key": key, "files": entries}
        # As it will be read back, so that the seal is of what the file says.
        manifest = json.loads(json.dumps(manifest, allow_nan=False))
        manifest[SEAL] = _seal(manifest)
        for name, path in files.items():
            self.place.upload(path, stored_path(stage, key, name, hashes[name]))
        target = f"{_folder(stage, key)}/{MANIFEST}"
        while not self.place.claim(target, json.dumps(manifest, indent=1).encode()):
            try:
                first = self.manifest(stage, key)
            except ValueError as error:
                self.set_aside(stage, key, target, str(error))
                continue
            if first is not None:
                return first
        return manifest

    def set_aside(self, stage: str, key: str, path: str, reason: str) -> None:
        """Move a damaged file out of the way, manifest first, and note why: from now on the stage is not finished."""
        folder = f"{DAMAGED}/{stage}-{key}-{uuid.uuid4().hex[:8]}"
        for source in dict.fromkeys((f"{_folder(stage, key)}/{MANIFEST}", path)):
            with suppress(FileNotFoundError):  # somebody else has seen it, too
                self.place.move(source, f"{folder}/{source.rpartition('/')[2]}")
        note = {"stage": stage, "key": key, "path": path, "reason": reason, "time": time.time(), "by": platform.node()}
        self.place.claim(f"{folder}/{NOTE}", json.dumps(note).encode())

    def damaged(self) -> dict[str, str]:
        """What was set aside, and why, by its folder."""
        found = {}
        for name in self.place.names(DAMAGED):
            with suppress(FileNotFoundError, ValueError):
                note = json.loads(self.place.read(f"{DAMAGED}/{name}/{NOTE}"))
                found[name] = f"{note['path']}: {note['reason']}"
        return found

    def workspace(self, stage: str, key: str) -> Path:
        """Local folder for the state of an unfinished stage; survives the process, not the stage's end.

        Where other machines do not see it, :attr:`copies` are theirs.
        """
        return self.workspaces / f"{stage}-{key}"

    @property
    def workspaces(self) -> Path:
        """Local folder of all these."""
        return (self.place.folder or self._cache) / UNFINISHED

    @property
    def copies(self) -> "RemoteStates | None":
        """Where the states in workspaces are kept besides; None where every machine of the store sees the folder."""
        return RemoteStates(self.place, self.workspaces) if self.place.folder is None else None

    def clear_workspace(self, stage: str, key: str) -> None:
        """Remove the state of a stage that is finished."""
        folder = self.workspace(stage, key)
        if self.place.folder is None and folder.exists():
            with suppress(StoreError):  # what is left takes room, and nothing else
                self.place.remove_folder(f"{UNFINISHED}/{folder.name}")
        shutil.rmtree(folder, ignore_errors=True)

    def _bring(self, source: str) -> Path:
        """The local path of a file, which is copied if the store is remote and it is not here yet."""
        if self.place.folder is not None:
            return self.place.folder / source
        path = self._cache / "store" / source
        if not path.exists():
            self.place.download(source, path)
        return path

    def _hash(self, path: Path) -> str:
        try:
            return local_sha256(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"store {self.uri!r}: {path} cannot be read ({error.strerror}).") from error


@dataclass(frozen=True)
class RemoteStates:
    """States of unfinished stages in a remote store, with which another machine goes on."""

    place: Place
    workspaces: Path
    """The local folder that they are copies of."""

    def put(self, path: Path) -> None:
        """Copy a local file to the store. Trouble is no reason to stop: the next one may come through."""
        try:
            self.place.upload(path, self._remote(path))
        except FileNotFoundError:
            return  # another process finished the stage and cleared the folder
        except StoreError as error:
            _log.warning("a checkpoint is on this machine only: %s", error)

    def get(self, path: Path) -> None:
        """Replace a local file by the store's, also by none."""
        try:
            self.place.download(self._remote(path), path)
        except FileNotFoundError:
            path.unlink(missing_ok=True)

    def _remote(self, path: Path) -> str:
        return f"{UNFINISHED}/{path.relative_to(self.workspaces).as_posix()}"


def stored_path(stage: str, key: str, name: str, sha256: str) -> str:
    """``model.safetensors`` of a stage as ``defend/0123456789abcdef/model-1f89bac7.safetensors``."""
    path = Path(name)
    return f"{_folder(stage, key)}/{path.stem}-{sha256[:8]}{path.suffix}"


def _folder(stage: str, key: str) -> str:
    return f"{stage}/{key}"


def _seal(manifest: Manifest) -> str:
    return config.fingerprint({name: value for name, value in manifest.items() if name != SEAL})
