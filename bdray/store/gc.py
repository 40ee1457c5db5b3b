"""What can go from a store: results that no study needs, what was set aside, and what killed writers left."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bdray.pipeline.store import DAMAGED, MANIFEST, UNFINISHED, Store
from bdray.store.entries import Contents, Entry


@dataclass(frozen=True)
class Garbage:
    """One thing that nobody needs."""

    what: str
    """Kind of it, for people."""
    name: str
    bytes: int
    changed: float
    files: tuple[str, ...] = ()
    """Paths in the store, in the order in which they go: a manifest first, so that nobody reads half a result."""
    folder: str | None = None
    """Of the store, gone with all that is in it."""
    workspace: Path | None = None
    """Local folder of an unfinished stage."""


def garbage(
    store: Store, contents: Contents, needed: set[str], *, hours: float, with_unfinished: bool
) -> tuple[list[Garbage], int]:
    """Decide what can go.

    Args:
        store: The store.
        contents: What is in it.
        needed: Keys of the results to keep.
        hours: What is younger may belong to a study that runs now and is kept, needed or not.
        with_unfinished: Also the state of unfinished stages that nobody needs.

    Returns:
        What can go, and how many things are kept for nothing but their age.
    """
    limit = time.time() - hours * 3600
    found = [*_results(contents, needed), *_strays(contents, needed), *_set_aside(contents)]
    if with_unfinished:
        found += [*_workspaces(store, needed), *_states(store, contents, needed)]
    old = [one for one in found if one.changed < limit]
    return old, len(found) - len(old)


def delete(store: Store, found: Iterable[Garbage]) -> None:
    """Remove things.

    Raises:
        StoreError: If the store refuses.
    """
    for one in found:
        for path in one.files:
            store.place.remove(path)
        if one.folder is not None:
            store.place.remove_folder(one.folder)
        if one.workspace is not None:
            shutil.rmtree(one.workspace, ignore_errors=True)


def _results(contents: Contents, needed: set[str]) -> list[Garbage]:
    found = []
    for entry in contents.entries:
        if entry.key not in needed:
            name = f"{entry.folder}: {contents.label(entry)}"
            found.append(Garbage("result", name, entry.bytes, entry.changed, _order(entry), entry.folder))
    return found


def _strays(contents: Contents, needed: set[str]) -> list[Garbage]:
    """Files in the folders of results that stay."""
    kept = [(entry, file) for entry in contents.entries if entry.key in needed for file in entry.strays]
    # Without a manifest somebody may be about to write it, however old the files are.
    return [Garbage("stray", file.path, file.bytes, entry.changed, (file.path,)) for entry, file in kept]


def _set_aside(contents: Contents) -> list[Garbage]:
    return _folders(contents, DAMAGED)


def _states(store: Store, contents: Contents, needed: set[str]) -> list[Garbage]:
    """Copies of unfinished stages' states in a remote store."""
    if store.place.folder is not None:
        return []
    return [one for one in _folders(contents, UNFINISHED) if one.name.rpartition("-")[2] not in needed]


def _folders(contents: Contents, kind: str) -> list[Garbage]:
    """The folders in a folder that holds no results."""
    folders: dict[str, list[tuple[int, float]]] = {}
    for file in contents.others:
        first, _, rest = file.path.partition("/")
        if first == kind:
            folders.setdefault(f"{kind}/{rest.partition('/')[0]}", []).append((file.bytes, file.changed))
    return [
        Garbage(kind, name, sum(size for size, _ in sizes), max(time for _, time in sizes), folder=name)
        for name, sizes in folders.items()
    ]


def _workspaces(store: Store, needed: set[str]) -> list[Garbage]:
    found = []
    for folder in sorted(store.workspaces.glob("*-*")):
        if folder.name.rpartition("-")[2] in needed:
            continue
        stats = [path.stat() for path in (folder, *folder.rglob("*"))]
        size, changed = sum(stat.st_size for stat in stats), max(stat.st_mtime for stat in stats)
        found.append(Garbage("unfinished", folder.name, size, changed, workspace=folder))
    return found


def _order(entry: Entry) -> tuple[str, ...]:
    manifest = f"{entry.folder}/{MANIFEST}"
    paths = [file.path for file in entry.files]
    return (*(path for path in paths if path == manifest), *(path for path in paths if path != manifest))
