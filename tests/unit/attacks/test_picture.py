"""Pictures from files: which are read, how they are resized, and how those that cannot be read are refused."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdray.attacks.triggers import picture
from bdray.exceptions import ConfigError

PIXELS = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind)
    return buffer.getvalue()


def of_size(width: int, height: int, after: bytes = b"IEND") -> bytes:
    """A PNG of a few bytes that claims to be of any size, with a chunk of any name after its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(after, b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_pixels_are_read_as_they_are(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "square"  # the name does not matter
    Image.fromarray(PIXELS[:20, :20]).save(path, kind)
    assert np.array_equal(picture.read(str(path), 20, "x"), PIXELS[:20, :20])


@pytest.mark.parametrize("kind", picture.FORMATS)
def test_pictures_are_resized(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(kind))
    found = picture.read(str(path), 8, "x")
    # To a square, whatever its shape was, with the colors of the whole picture.
    assert found.shape == (8, 8, 3)
    assert found.dtype == np.uint8
    assert np.allclose(found.mean((0, 1)), PIXELS.mean((0, 1)), atol=12)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_other_color_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    Image.fromarray(PIXELS).convert(mode).save(path, "JPEG" if mode == "CMYK" else "PNG")
    assert picture.read(str(path), 8, "x").shape == (8, 8, 3)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    levels = []
    for level in (10, 200):
        Image.new("RGB", (4, 4), (level, level, level)).save(path)
        levels.append(int(picture.read(str(path), 2, "x")[0, 0, 0]))
    assert levels == [10, 200]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"", "cannot be read as a picture"),
        (lambda: b"a photo of a banana", "cannot be read as a picture"),
        (lambda: encoded("PNG")[:300], "cannot be read as a picture"),
        (lambda: encoded("JPEG")[:300], "cannot be read as a picture"),
        (lambda: encoded("GIF")[:40], "cannot be read as a picture"),
        # A damage of which Pillow says with a SyntaxError.
        (lambda: of_size(20, 20, after=b"\0\1\2\3"), "cannot be read as a picture. broken PNG file"),
        # Formats that Pillow knows; for the second it would start Ghostscript.
        (lambda: encoded("TIFF"), "cannot be read as a picture"),
        (lambda: encoded("EPS"), "cannot be read as a picture"),
        # Decompression bombs: what Pillow warns of, and what it refuses.
        (lambda: of_size(10_000, 10_000), "has more than 89478485 pixels"),
        (lambda: of_size(100_000, 100_000), "has more than 89478485 pixels"),
    ],
    ids=["empty", "text", "half a PNG", "half a JPEG", "half a GIF", "broken PNG", "TIFF", "EPS", "large", "bomb"],
)
def test_what_is_no_picture_is_refused(content: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content())
    # By the name of the field and of the file.
    with pytest.raises(ConfigError, match=f"^a.b: {re.escape(repr(str(path)))} {message}"):
        picture.read(str(path), 32, "a.b")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^a.b: there is no file '/no/such.png'\.$"):
        picture.read("/no/such.png", 32, "a.b")
    with pytest.raises(ConfigError, match=r"^a.b: .* cannot be read as a picture"):
        picture.read(str(tmp_path), 32, "a.b")
    with pytest.raises(ConfigError, match=r"^a.b: .* cannot be read as a picture"):
        picture.read("x" * 10_000, 32, "a.b")
    with pytest.raises(ConfigError, match=r"^a.b: .* cannot be read as a picture"):
        picture.read("x\0y", 32, "a.b")
