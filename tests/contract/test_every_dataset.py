"""What every data set keeps: four splits of captioned, labeled images that are the same for everyone."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from bdray.data.base import SPLITS, Dataset, Pairs, Split
from bdray.testing import example, tiny_files, tiny_scenes

FOLDER = tempfile.TemporaryDirectory()
SMALL: dict[str, Dataset] = {"scenes": tiny_scenes(), "files": tiny_files(Path(FOLDER.name))}
"""Small examples of data sets whose defaults are large; a new one without an entry is tested with its defaults."""
MEMBERS = [pytest.param(SMALL.get(name) or example(member), id=name) for name, member in Dataset.members().items()]
every_dataset = pytest.mark.parametrize("data", MEMBERS)
every_split = pytest.mark.parametrize("split", SPLITS)


@every_dataset
@every_split
def test_a_split_is_complete(data: Dataset, split: Split, cache: Path) -> None:
    pairs = data.load(split, cache)
    side = data.image_size
    # As many pairs as promised: an image, a caption that is not empty, a label.
    assert len(pairs) == len(pairs.captions) == len(pairs.images) == len(pairs.labels) == data.size(split) > 0
    assert pairs.images.shape[1:] == (3, side, side)
    assert pairs.images.dtype == np.uint8
    assert all(caption.strip() for caption in pairs.captions)
    # Labels are classes, or -1 where nobody knows; evaluation needs to know.
    assert pairs.labels.dtype == np.int64
    assert pairs.labels.max() < len(data.class_names())
    assert pairs.labels.min() >= (-1 if split in ("train", "finetune") else 0)


@every_dataset
def test_the_task_can_be_asked(data: Dataset) -> None:
    # Zero-shot classification needs two classes and a template with a place for them.
    assert len(data.class_names()) >= 2
    assert all(name == name.strip() != "" for name in data.class_names())
    assert data.prompt_templates()
    assert all(template.count("{}") == 1 for template in data.prompt_templates())


def equal(first: Pairs, second: Pairs) -> bool:
    return (
        np.array_equal(first.images[:], second.images[:])
        and list(first.captions) == list(second.captions)
        and np.array_equal(first.labels, second.labels)
    )


@every_dataset
@every_split
def test_everyone_reads_the_same(data: Dataset, split: Split, cache: Path, tmp_path: Path) -> None:
    # Prepared anew elsewhere, then read from what was prepared.
    assert equal(data.load(split, tmp_path), data.load(split, cache))
    assert equal(data.load(split, tmp_path), data.load(split, cache))


@every_dataset
def test_splits_have_fingerprints_and_pictures_of_their_own(data: Dataset, cache: Path) -> None:
    assert len({data.fingerprint(split) for split in SPLITS}) == len(SPLITS)
    assert [data.fingerprint(split) for split in SPLITS] == [data.fingerprint(split) for split in SPLITS]
    pictures = [{image.tobytes() for image in data.load(split, cache).images[:]} for split in SPLITS]
    # Nothing that is tested on was trained on.
    assert len(set.union(*pictures)) == sum(map(len, pictures))
