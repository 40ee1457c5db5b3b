"""The folder of an exported set: what is in it, whose it is, and how files get into it."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bdray.exceptions import DataError

INDEX, CAPTIONS, IMAGES = "index.json", "captions.csv", "images"
UNFINISHED = "unfinished.json"
"""Says what is being exported here, from the first moment until the index is there."""
PARTIAL = ".partial"


def image_name(sample: int) -> str:
    """Where the image of a sample is, relative to the folder."""
    return f"{IMAGES}/{sample:08d}.png"


def claim(folder: Path, identity: str) -> None:
    """Make the folder of an export that begins or goes on.

    Args:
        folder: New, empty, or left behind by an interrupted export of the same set.
        identity: Hash of all that decides what is exported.

    Raises:
        DataError: If something else is there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in folder.iterdir() if path.suffix != PARTIAL}
        if UNFINISHED in found:
            if _claimed_by(folder / UNFINISHED) != identity:
                raise DataError(f"{folder}: holds another export, which was not finished. Give another folder.")
        elif found:
            raise DataError(
                f"{folder}: holds {min(found)!r}, and no export of this set. Give a new folder, or an empty one."
            )
        else:
            with whole(folder / UNFINISHED) as path:
                path.write_text(json.dumps({"identity": identity}), encoding="utf-8")
        (folder / IMAGES).mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}). Give a folder that you may write to.") from error


def release(folder: Path) -> None:
    """Clear away what an export needed until it was finished, after the index was written."""
    for path in (*folder.glob(f"*{PARTIAL}"), *folder.glob(f"{IMAGES}/*{PARTIAL}"), folder / UNFINISHED):
        path.unlink(missing_ok=True)


def _claimed_by(marker: Path) -> str | None:
    try:
        content = json.loads(marker.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("identity") if isinstance(content, dict) else None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write a file under, which then appears at ``path`` as a whole or not at all.

    Raises:
        DataError: If it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). Make room or give another folder; the same "
            "command goes on where it was stopped."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def plain_file(folder: Path, name: str) -> Path:
    """The path of a file of the folder that lies in it: no link that may lead anywhere, no device or pipe.

    Args:
        folder: May be a link itself.
        name: Relative to it.

    Raises:
        DataError: If it is something else, or nothing.
    """
    path = folder / name
    below = (path, *path.parents[: name.count("/")])
    if any(step.is_symlink() for step in below) or not path.is_file():
        state = "must be a plain file" if path.is_symlink() or path.exists() else "is missing"
        raise DataError(f"{path}: {state}. Copy the whole folder again, or export the set anew.")
    return path


def sha256(path: Path) -> str:
    """Hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
