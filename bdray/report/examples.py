"""The pictures of what triggers do, as an evaluation draws them: three rows of small images without gaps."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.exceptions import ConfigError
from bdray.report.study import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS = ("clean", "triggered", "difference ×10")
"""What the rows of a picture show, from the top; no difference is mid-gray."""


@dataclass(frozen=True)
class Picture:
    """One trigger on a few test images."""

    label: str
    file: str
    """Place in the study's folder."""
    pixels: "NDArray[np.uint8] | None"
    """Shape [3 * side, columns * side, 3]; None if there is no such file, or it holds no such picture."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; zeros if it is missing."""
        return (0, 0) if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])

    @property
    def columns(self) -> int:
        """How many images it shows."""
        width, height = self.size
        return width * len(ROWS) // height if height else 0

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` URI, to put into a page."""
        from PIL import Image

        if self.pixels is None:
            return ""
        buffer = BytesIO()
        Image.fromarray(self.pixels).save(buffer, format="png", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def read_pictures(folder: Path, examples: Sequence[Example]) -> tuple[Picture, ...]:
    """Read the pictures that a study lists, all of which lie in its own folder.

    Raises:
        ConfigError: If one of them is a link that leads out of the folder.
    """
    root = os.path.realpath(folder)
    for example in examples:
        if not Path(os.path.realpath(folder / example.file)).is_relative_to(root):
            raise ConfigError(
                f"{folder / 'study.json'}: examples: {example.file} leads out of the study's folder. "
                "Put the picture itself there, or run the study again."
            )
    return tuple(Picture(example.label, example.file, _pixels(folder / example.file)) for example in examples)


def _pixels(path: Path) -> "NDArray[np.uint8] | None":
    """A report does without a picture that cannot be read; it says so."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=["png"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow's, for any kind of damage
        return None
    height, width, _ = pixels.shape
    is_grid = height % len(ROWS) == 0 and width % (height // len(ROWS)) == 0
    return pixels if is_grid else None
