"""Images of an exported set: PNG loses nothing, and what is no such image is refused before it is unpacked."""

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bdray.exceptions import DataError
from bdray.export.images import pixel_hash, quantized, read_png, to_png

SIZE = 32
PIXELS = np.random.default_rng(0).integers(256, size=(3, SIZE, SIZE), dtype=np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_size(width: int, height: int) -> bytes:
    """A sound PNG header that promises so many pixels, and next to none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def test_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(to_png(PIXELS))
    # Every pixel of noise comes back, in the order that other programs see too.
    assert np.array_equal(read_png(path, SIZE), PIXELS)
    with Image.open(path) as picture:
        assert picture.getpixel((5, 2)) == tuple(PIXELS[:, 2, 5].tolist())
        # The hash is of what any program reads as rows of RGB.
        assert pixel_hash(PIXELS) == hashlib.sha256(picture.tobytes()).hexdigest()


def test_rounding() -> None:
    levels = torch.arange(256).float() / 255
    images = levels.reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    # Each of the 256 levels stays what it was, and what lies between goes to the nearest.
    assert quantized(images)[0, 0].flatten().tolist() == list(range(256))
    assert quantized(torch.full((1, 3, 1, 1), 100.6 / 255)).flatten().tolist() == [101, 101, 101]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (32, 31), (12_000, 12_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_of_another_size_is_refused(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_of_size(width, height))
    # From its header alone, for the pixels of the larger ones would fill the memory.
    with pytest.raises(DataError, match=r"a\.png: must have 32x32 pixels"):
        read_png(path, SIZE)


def test_an_image_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    gray = Image.fromarray(PIXELS[0])
    gray.save(path)
    with pytest.raises(DataError, match="pixels in RGB, but has 32x32 pixels in L"):
        read_png(path, SIZE)
    # Nor any other format, whatever its name says: JPEG would lose something.
    Image.fromarray(PIXELS.transpose(1, 2, 0)).save(path, format="JPEG")
    with pytest.raises(DataError, match="no PNG file"):
        read_png(path, SIZE)


def test_a_damaged_image_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.png", to_png(PIXELS)
    rng = np.random.default_rng(0)
    survived = 0
    for _ in range(300):
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
        path.write_bytes(content[: rng.integers(len(content))] if rng.random() < 0.2 else content)
        try:
            pixels = read_png(path, SIZE)
        except DataError:
            continue
        survived += 1
        # It is refused in one way; or the damage is in what no pixel depends on, or the hash tells.
        assert np.array_equal(pixels, PIXELS) == (pixel_hash(pixels) == pixel_hash(PIXELS))
    assert survived < 30
