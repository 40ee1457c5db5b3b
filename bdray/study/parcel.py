"""What of this machine travels to a cluster with a job: the package and the study's files, and nothing else."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bdray.exceptions import ClusterError
from bdray.pipeline.provenance import COMMIT, commit
from bdray.study.files import studies_folder
from bdray.study.spec import LoadedStudy

MAX_BYTES = 20_000_000
"""Of all files: the package has a tenth of it, so more is data that somebody left in its folders."""
NOT_SENT = {"__pycache__", "_studies"}
"""Folders of the package that stay here: byte code, and the studies of a wheel, of which the job's own are sent."""
NUM_NAMED = 5


@contextmanager
def parcel(loaded: LoadedStudy) -> Iterator[Path]:
    """A folder with all that the job needs, for as long as the block runs.

    Raises:
        ClusterError: If it would be large; names the largest files.
    """
    files = _files(loaded)
    _check_size(files)
    with TemporaryDirectory(prefix="bdray-job-") as name:
        folder = Path(name)
        for target, source in files.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / target)
        (folder / COMMIT).write_text(commit() or "unknown", encoding="utf-8")
        yield folder


def _files(loaded: LoadedStudy) -> dict[str, Path]:
    """Local files by their path in the job's folder."""
    package, studies = Path(__file__).parents[1], studies_folder()
    found = {
        (Path("bdray") / path.relative_to(package)).as_posix(): path
        for path in sorted(package.rglob("*"))
        if path.is_file() and not NOT_SENT & {*path.relative_to(package).parts} and not path.name.startswith(".")
    }
    needed = [studies / f"{loaded.name}.yaml", *sorted((studies / "base").rglob("*.yaml"))]
    return found | {(Path("studies") / path.relative_to(studies)).as_posix(): path for path in needed}


def _check_size(files: Mapping[str, Path]) -> None:
    sizes = {path: path.stat().st_size for path in files.values()}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:NUM_NAMED]
        named = ", ".join(f"{path} ({sizes[path] / 1e6:.1f} MB)" for path in largest)
        raise ClusterError(
            f"the job's code would be {total / 1e6:.1f} MB, where {MAX_BYTES / 1e6:.0f} MB are the limit. The largest "
            f"files are {named}. Data do not travel with a job: keep them out of the package's folders."
        )
