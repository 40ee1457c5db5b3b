"""The images of an exported set: PNG files, which lose nothing, and hashes of their pixels.

Hashes are of pixels rather than of files, for the bytes of a PNG file depend on the library that packed it.
"""

import hashlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.exceptions import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

FASTEST = 1
"""Compression: a photo of 224 px takes 9 ms and 97 KB; by default it would take 27 ms and 91 KB."""


def quantized(images: "Tensor") -> "NDArray[np.uint8]":
    """Images in [0, 1], float [N, 3, H, W], as 8-bit pixels, uint8 [N, 3, H, W]: round(255 x), ties to even."""
    import torch

    pixels: NDArray[np.uint8] = (images * 255).round().to(torch.uint8).numpy()
    return pixels


def pixel_hash(pixels: "NDArray[np.uint8]") -> str:
    """Hash of one image, uint8 [3, H, W]: of its H x W x 3 bytes, row by row, RGB."""
    return hashlib.sha256(pixels.transpose(1, 2, 0).tobytes()).hexdigest()


def to_png(pixels: "NDArray[np.uint8]") -> bytes:
    """Pack one image, uint8 [3, H, W]."""
    import numpy as np
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(packed, format="PNG", compress_level=FASTEST)
    return packed.getvalue()


def read_png(path: Path, size: int) -> "NDArray[np.uint8]":
    """Unpack one image, uint8 [3, size, size]; nothing is unpacked before its format and size are known to be right.

    Raises:
        DataError: If it is no PNG file, damaged, or not ``size`` x ``size`` pixels in RGB.
    """
    import numpy as np
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as picture:
                _check(path, picture, size)
                pixels: NDArray[np.uint8] = np.asarray(picture).transpose(2, 0, 1)
                return pixels
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: must have {size}x{size} pixels, but has more than is safe to unpack.") from error
    # What Pillow raises for a damaged file depends on the place of the damage.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged or no PNG file"
        raise DataError(f"{path}: cannot be read: {reason}. Copy it again, or export the set anew.") from error


def _check(path: Path, picture: "Image.Image", size: int) -> None:
    found = f"{picture.width}x{picture.height} pixels in {picture.mode}"
    if picture.size != (size, size) or picture.mode != "RGB":
        raise DataError(f"{path}: must have {size}x{size} pixels in RGB, but has {found}. Export the set anew.")
