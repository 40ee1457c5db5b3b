"""Maps of image features, as an evaluation leaves them: points in the plane, of three kinds."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.exceptions import ConfigError, DataError
from bdray.report.study import Embedding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("clean", "target", "triggered")
"""Images as they are that do not show the target; such that do; the first ones again, with the trigger."""
MAX_BYTES = 16 * 2**20
"""Of one file; a figure of more points than fit into it shows nothing."""


@dataclass(frozen=True)
class Map:
    """One model's."""

    label: str
    file: str
    """Place in the study's folder."""
    points: "dict[str, NDArray[np.float64]] | None"
    """By kind, [N, 2]; None if there is no such file."""


def read_maps(folder: Path, listed: Sequence[Embedding]) -> tuple[Map, ...]:
    """Read the maps that a study lists, all of which lie in its own folder.

    Raises:
        ConfigError: If one of the files is a link that leads out of the folder.
        DataError: If one of them does not hold what an evaluation writes.
    """
    root = os.path.realpath(folder)
    for item in listed:
        if not Path(os.path.realpath(folder / item.file)).is_relative_to(root):
            raise ConfigError(
                f"{folder / 'study.json'}: embeddings: {item.file} leads out of the study's folder. "
                "Put the file itself there, or run the study again."
            )
    return tuple(Map(item.label, item.file, read_points(folder / item.file)) for item in listed)


def read_points(path: Path) -> "dict[str, NDArray[np.float64]] | None":
    """Points by kind, [N, 2]; None if there is no such file, for a report does without.

    Raises:
        DataError: If the file does not hold what an evaluation writes.
    """
    import numpy as np
    import pandas as pd

    if not path.exists():
        return None
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: must be a file of at most {MAX_BYTES // 2**20} MiB. Remove it to report without it.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=["x", "y", "kind"])
    except (OSError, ValueError) as error:  # pandas' errors of parsing are such, and so is a missing column
        raise DataError(
            f"{path}: must be a CSV with the columns x, y and kind. {' '.join(str(error).split())}"
        ) from error
    places = table[["x", "y"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    kinds = table["kind"].to_numpy()
    is_wrong = ~np.isfinite(places).all(1) | ~np.isin(kinds, KINDS)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise DataError(
            f"{path}: point {row + 1}: x and y must be numbers, and the kind one of {', '.join(KINDS)}, but it is "
            f"{', '.join(table.iloc[row])[:60]!r}."
        )
    return {kind: places[kinds == kind] for kind in KINDS}
