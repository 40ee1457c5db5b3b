"""From the bytes of an image file to square pixels, by the papers' rules, with limits on what is unpacked at all."""

import io
import struct
import zlib
from typing import TYPE_CHECKING, Literal

from bdray.data.bad_samples import BadSampleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Geometry = Literal["crop", "squash"]
"""How a rectangle becomes a square. ``crop``: the shorter side is resized to the size that is asked for, and the center
cut out, as CLIP does. ``squash``: width and height are resized to it, whatever their ratio."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Formats that are unpacked; those of no other are even looked at."""
MIN_SIDE, MAX_PIXELS, MAX_RATIO = 8, 2**26, 50
"""Images with a shorter side in pixels, more pixels (a file of a few KB may hold billions), or a larger ratio of their
sides are refused before they are unpacked."""
DAMAGED = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, NotImplementedError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises for a damaged file depends on the format and the place of the damage."""


def decode(packed: bytes, size: int, geometry: Geometry) -> "NDArray[np.uint8]":
    """Unpack an image file and make it square, uint8 [3, size, size], in RGB.

    As the papers' code does it: of an animation the first image, transparency dropped, no turning by EXIF; sizes by
    bicubic interpolation with antialiasing (torchvision's ``Resize`` and ``CenterCrop`` of a PIL image).

    Raises:
        BadSampleError: If it is damaged, of an unknown format, or of an absurd size.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(packed), formats=FORMATS) as picture:
            _check(picture)
            squared = _square(picture.convert("RGB"), size, geometry)
    except Image.DecompressionBombError as error:
        raise BadSampleError("absurd size", "more pixels than are safe to unpack") from error
    except DAMAGED as error:
        raise BadSampleError("broken image", _reason(error)) from error
    pixels: NDArray[np.uint8] = np.ascontiguousarray(np.asarray(squared).transpose(2, 0, 1))
    return pixels


def _check(picture: "Image.Image") -> None:
    short, long = sorted(picture.size)
    shape = f"{picture.width}x{picture.height} pixels"
    if short < MIN_SIDE or short * long > MAX_PIXELS or long > MAX_RATIO * short:
        raise BadSampleError("absurd size", shape)
    if picture.mode in ("F", "I") or picture.mode.startswith("I;"):  # Pillow would cut their values off at 255
        raise BadSampleError("broken image", f"{shape} of more than 8 bits")


def _square(picture: "Image.Image", size: int, geometry: Geometry) -> "Image.Image":
    from PIL.Image import Resampling

    width, height = picture.size
    if geometry == "squash":
        return picture.resize((size, size), Resampling.BICUBIC)
    short = min(width, height)
    width, height = (size if side == short else int(size * side / short) for side in (width, height))
    left, top = round((width - size) / 2), round((height - size) / 2)
    return picture.resize((width, height), Resampling.BICUBIC).crop((left, top, left + size, top + size))


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # whose message is an address in memory
        return f"it is none of {', '.join(FORMATS)}"
    return " ".join(str(error).split())[:200] or type(error).__name__
