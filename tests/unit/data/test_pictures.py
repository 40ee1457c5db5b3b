"""Pixels are those of the papers' preprocessing, and hostile files end as bad samples."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from bdray.data.bad_samples import BadSampleError
from bdray.data.pictures import MAX_PIXELS, MAX_RATIO, MIN_SIDE, decode


def packed(image: Image.Image, suffix: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, suffix)
    return file.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A small file that claims any number of pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(48, 40), (40, 48), (33, 33), (301, 57), (57, 301), (20, 700)])
def test_crop_is_what_torchvision_does(picture: Callable[..., bytes], size: tuple[int, int]) -> None:
    file = picture(size=size)
    reference = Compose([Resize(32, InterpolationMode.BICUBIC), CenterCrop(32)])
    expected = np.asarray(reference(Image.open(io.BytesIO(file)))).transpose(2, 0, 1)
    # The papers' preprocessing, pixel for pixel, for enlarged and reduced images of any ratio.
    assert np.array_equal(decode(file, 32, "crop"), expected)


def test_squash_is_what_the_triggers_code_does(picture: Callable[..., bytes]) -> None:
    file = picture(size=(90, 40))
    # CleanCLIP's backdoor/utils.py: image.resize((224, 224)), which is bicubic, whatever the ratio.
    expected = np.asarray(Image.open(io.BytesIO(file)).resize((32, 32))).transpose(2, 0, 1)
    assert np.array_equal(decode(file, 32, "squash"), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    pixels = decode(packed(Image.new("RGB", (40, 40), (255, 0, 0)).convert(mode)), 16, "crop")
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


def test_cmyk_and_animations_are_read(picture: Callable[..., bytes]) -> None:
    # ImageNet has JPEGs in CMYK, and web data animations.
    assert decode(packed(Image.new("CMYK", (40, 40)), "JPEG"), 16, "crop").min() == 255
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decode(file.getvalue(), 16, "crop")[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("width", "height"),
    [(MIN_SIDE - 1, 100), (100, 1), (2**15, 2**15), (MAX_RATIO * 10 + 1, 10), (2, MAX_PIXELS), (2**20, 2**20)],
)
def test_absurd_sizes_are_not_unpacked(width: int, height: int) -> None:
    with pytest.raises(BadSampleError) as caught:
        decode(png_that_says(width, height), 32, "crop")
    assert caught.value.kind == "absurd size"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_files_are_broken(picture: Callable[..., bytes], suffix: str, share: float) -> None:
    file = picture(suffix=suffix)
    # Wherever the file breaks off; half an image is none.
    with pytest.raises(BadSampleError) as caught:
        decode(file[: int(share * len(file))], 32, "crop")
    assert caught.value.kind == "broken image"


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\0" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_broken(content: bytes) -> None:
    with pytest.raises(BadSampleError) as caught:
        decode(content, 32, "crop")
    assert caught.value.kind == "broken image"
    assert "0x" not in caught.value.detail


def test_more_than_8_bits_are_refused() -> None:
    # Pillow would cut the values off.
    deep = Image.fromarray(np.full((40, 40), 1000, np.uint16))
    with pytest.raises(BadSampleError, match="8 bits"):
        decode(packed(deep), 32, "crop")


@settings(deadline=None, max_examples=300)
@given(data=st.data(), suffix=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]))
def test_damage_never_escapes(data: st.DataObject, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(24, 24, 3), dtype=np.uint8)
    file = bytearray(packed(Image.fromarray(pixels), suffix))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    # Whatever bytes are changed: an image, or a bad sample, and no other error.
    with suppress(BadSampleError):
        assert decode(bytes(file), 16, "crop").shape == (3, 16, 16)
