"""What is in a store, result by result, with a name for people."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bdray.pipeline.place import Stored
from bdray.pipeline.store import DAMAGED, MANIFEST, UNFINISHED, Manifest, Store, stored_path

STAGES = ("pretrain", "trigger", "victim", "defend", "evaluate")
"""Folders of results, in the order in which these are made."""
READERS = 16
"""Manifests that are read at once, for an object store takes its time."""


@dataclass(frozen=True)
class Entry:
    """The folder of one key."""

    stage: str
    key: str
    files: tuple[Stored, ...]
    manifest: Manifest | None
    """None if the result is not finished, or its manifest damaged."""
    damage: str = ""
    """What is wrong with the manifest."""

    @property
    def folder(self) -> str:
        """Path in the store."""
        return f"{self.stage}/{self.key}"

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def changed(self) -> float:
        """When the last file was written."""
        return max(file.changed for file in self.files)

    @property
    def hashes(self) -> dict[str, str]:
        """Expected hashes of the files of the result, by path."""
        files = self.manifest["files"] if self.manifest else {}
        return {stored_path(self.stage, self.key, name, file["sha256"]): file["sha256"] for name, file in files.items()}

    @property
    def strays(self) -> tuple[Stored, ...]:
        """Files that belong to no result: of a writer that was killed, or that came second."""
        if self.manifest is None:
            return self.files
        known = {f"{self.folder}/{MANIFEST}", *self.hashes}
        return tuple(file for file in self.files if file.path not in known)

    @property
    def reads(self) -> Mapping[str, Any]:
        """The parts of the experiment that decided it."""
        return self.manifest.get("reads", {}) if self.manifest else {}

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the results that it was made from."""
        return tuple(self.manifest.get("inputs", {}).values()) if self.manifest else ()


@dataclass(frozen=True)
class Contents:
    """A whole store."""

    entries: tuple[Entry, ...]
    """Results, finished or not, in the order of stages."""
    others: tuple[Stored, ...]
    """All other files: what was set aside, and the state of unfinished stages."""

    def label(self, entry: Entry) -> str:
        """What a result is, for people: ``test of cleanclip of blended→banana, seed 0``."""
        if entry.manifest is None:
            return entry.damage or "not finished"
        chain = [entry, *self._above(entry)]
        seeds = [seed for one in chain if isinstance(seed := one.reads.get("seed"), int)]
        return " of ".join(map(_what, chain)) + (f", seed {seeds[0]}" if seeds else "")

    def _above(self, entry: Entry) -> list[Entry]:
        """The models that a defense or an evaluation is of, nearest first, up to the victim."""
        if entry.stage not in ("defend", "evaluate") or not entry.inputs:
            return []
        found = self.by_key.get(entry.inputs[0])
        return [] if found is None else [found, *self._above(found)]

    @cached_property
    def by_key(self) -> Mapping[str, Entry]:
        """Entries by key; keys of two stages are never the same."""
        return {entry.key: entry for entry in self.entries}


def read(store: Store, stages: Sequence[str] = STAGES) -> Contents:
    """List a store and read all its manifests.

    Raises:
        StoreError: If the store does not answer.
    """
    folders: dict[tuple[str, str], list[Stored]] = defaultdict(list)
    others = []
    for file in store.place.files():
        stage, _, rest = file.path.partition("/")
        key, slash, _ = rest.partition("/")
        if stage in STAGES and slash:
            folders[stage, key].append(file)
        elif stage in (DAMAGED, UNFINISHED):
            others.append(file)
    wanted = sorted((name for name in folders if name[0] in stages), key=lambda name: (STAGES.index(name[0]), name[1]))
    with ThreadPoolExecutor(READERS) as pool:
        entries = pool.map(lambda name: _entry(store, name[0], name[1], folders[name]), wanted)
        return Contents(tuple(entries), tuple(others))


def _entry(store: Store, stage: str, key: str, files: Sequence[Stored]) -> Entry:
    try:
        return Entry(stage, key, tuple(files), store.manifest(stage, key))
    except ValueError as error:
        reason = "is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else str(error)
        return Entry(stage, key, tuple(files), None, f"{MANIFEST}: {reason}")


def _what(entry: Entry) -> str:
    """One stage in a few words."""
    reads = entry.reads
    attack = reads.get("attack", reads)
    attacked = f"{attack.get('trigger', {}).get('type')}→{attack.get('target')}"
    if entry.stage == "evaluate":
        return str(reads.get("split", "test")) + ("" if {"victim", "defend"} & _input_stages(entry) else f" {attacked}")
    names = {
        "pretrain": "clean base",
        "trigger": f"{attacked} trigger",
        "victim": attacked if "attack" in reads else "given victim",
        "defend": str(reads.get("defense", {}).get("type")),
    }
    return names[entry.stage]


def _input_stages(entry: Entry) -> set[str]:
    return set(entry.manifest.get("inputs", {})) if entry.manifest else set()
