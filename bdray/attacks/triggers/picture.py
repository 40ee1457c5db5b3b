"""A picture from a file of the user, for triggers that show one."""

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.exceptions import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats that are read. Pillow knows more, among them EPS, for which it starts another program."""


def sha256(file: str) -> str:
    """Hash of a file, in hexadecimal.

    Raises:
        OSError: If it cannot be read.
    """
    with Path(file).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read(file: str, size: int, field: str) -> "NDArray[np.uint8]":
    """Read a picture and resize it, bicubic and without keeping the aspect ratio; transparency is dropped.

    Args:
        file: Path of a PNG, JPEG, WebP, GIF (its first frame) or BMP file.
        size: Side of the result in pixels.
        field: Name of the configuration's field, for the error.

    Returns:
        uint8 [size, size, 3], not to be written to.

    Raises:
        ConfigError: If there is no such file, or it is no picture, damaged, or of more pixels than Pillow holds safe.
    """
    from PIL import Image

    try:
        return _read(file, size, Path(file).stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise ConfigError(f"{field}: there is no file {file!r}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ConfigError(
            f"{field}: {file!r} has more than {Image.MAX_IMAGE_PIXELS} pixels. Make it smaller first; "
            f"it is shown at {size}x{size}."
        ) from error
    # What Pillow raises for a damaged file depends on the format and on the place of the damage.
    except (OSError, ValueError, SyntaxError) as error:
        raise ConfigError(
            f"{field}: {file!r} cannot be read as a picture. {error}. Give a file in one of the formats "
            f"{', '.join(FORMATS)}."
        ) from error


@lru_cache(maxsize=4)  # a trigger asks again for every batch
def _read(file: str, size: int, changed: int) -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=FORMATS) as picture:
            return np.array(picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
