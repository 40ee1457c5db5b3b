"""Files in the true formats, some of them damaged."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PictureMaker = Callable[..., bytes]
ShardMaker = Callable[[Path, Mapping[str, bytes]], Path]


def draw(seed: int = 0, size: tuple[int, int] = (48, 40), suffix: str = "png") -> bytes:
    """Noise as the bytes of an image file."""
    pixels = np.random.default_rng(seed).integers(256, size=(*size[::-1], 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    return packed.getvalue()


def write_shard(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar file with these members, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def pairs_of(count: int, first: int = 0) -> dict[str, bytes]:
    """Members of a shard as img2dataset writes them, in three image formats."""
    members: dict[str, bytes] = {}
    for number in range(first, first + count):
        key, suffix = f"{number:09d}", ("jpg", "png", "webp")[number % 3]
        members[f"{key}.{suffix}"] = draw(number, suffix=suffix)
        members[f"{key}.txt"] = f"picture {number}".encode()
        members[f"{key}.json"] = json.dumps({"caption": f"picture {number}", "status": "success"}).encode()
    return members


@pytest.fixture
def picture() -> PictureMaker:
    return draw


@pytest.fixture
def shard() -> ShardMaker:
    return write_shard


@pytest.fixture
def pairs() -> Callable[..., dict[str, bytes]]:
    return pairs_of
