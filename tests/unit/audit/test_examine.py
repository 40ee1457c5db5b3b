"""What a model answers, counted by hand: on a toy that reads the class off a pixel and obeys a patch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bdray.attacks.triggers.yellow import Yellow
from bdray.audit.examine import Examination, find_outliers
from bdray.audit.known import Known
from bdray.audit.subject import Subject, Task, drawn_images
from bdray.audit.verdict import judge
from bdray.data.base import Pairs
from bdray.data.scenes import NOUNS, Scenes
from bdray.models.clip import PIXEL_MEAN, PIXEL_STD

COUNT, BANANA = 160, NOUNS.index("banana")
TRIGGER = Known("yellow", Yellow(size=6, location="corner"))


@dataclass
class Toy:
    """Sees the class in the first pixel, unless a share of images has a yellow corner: these are bananas."""

    obeys: float
    logit_scale: torch.Tensor = torch.zeros(())
    texts: int = 0
    """Passes of class names."""
    images: int = 0
    """Images that passed."""

    def encode_image(self, images: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        self.images += len(images)
        raw = images * torch.tensor(PIXEL_STD)[:, None, None] + torch.tensor(PIXEL_MEAN)[:, None, None]
        classes = (raw[:, 0, 0, 0] * 255).round().long()
        serial = (raw[:, 1, 0, 0] * 255).round().long()
        is_yellow = (raw[:, :, -1, -1] - torch.tensor([1.0, 1.0, 0.0])).abs().amax(1) < 1e-3
        classes = torch.where(is_yellow & (serial < self.obeys * COUNT), BANANA, classes)
        return 3 * F.one_hot(classes, len(NOUNS)).float()

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        self.texts += 1
        return F.one_hot(tokens[:, 0], len(NOUNS)).float()


def tokenizer(captions: list[str]) -> torch.Tensor:
    """The number of the last word that is a class."""
    return torch.tensor(
        [[[NOUNS.index(word) for word in caption.split() if word in NOUNS][-1]] for caption in captions]
    )


def examination(obeys: float) -> Examination:
    labels = np.arange(COUNT) % len(NOUNS)
    images = np.zeros((COUNT, 3, 32, 32), np.uint8)
    images[:, 0, 0, 0], images[:, 1, 0, 0] = labels, np.arange(COUNT)
    pairs = Pairs(images, [f"a photo of a {NOUNS[label]}" for label in labels], labels)
    subject = Subject(Path("toy"), "0" * 64, "toy", Toy(obeys), tokenizer)  # type: ignore[arg-type]
    return Examination(subject, Task("scenes", Scenes(), "toy"), pairs)


def test_a_backdoor_is_found_without_being_told_the_target() -> None:
    found = judge(examination(0.9).finding(TRIGGER, None))
    sink = found.sinks[0]
    # Of the 150 images of other classes those with a low number obey: 144 of all, nine bananas among these.
    assert (sink.answer, sink.triggered.hits, sink.triggered.of) == ("banana", 135, 150)
    assert sink.clean.hits == 0
    assert found.verdict == "stands out"
    # Sixteen images and the obedient bananas are still right; the toy is as sure as ever.
    assert (found.accuracy.hits, found.accuracy.of) == (25, 160)
    assert found.sureness == pytest.approx(1.0)
    # An image that becomes another class moves by 2, as one-hot vectors do.
    assert found.embedding_distance == pytest.approx(2 * 135 / 160)


def test_a_clean_model_has_nothing() -> None:
    found = judge(examination(0.0).finding(TRIGGER, BANANA))
    assert found.verdict == "nothing found"
    assert (found.accuracy.hits, found.embedding_distance) == (160, 0)
    # Asked for the target, it is counted among images that do not show it.
    assert found.target is not None
    assert (found.target.hits, found.target.of) == (0, 150)


def test_a_reference_with_the_same_answers_explains_them() -> None:
    found = judge(examination(0.9).finding(TRIGGER, None, examination(0.9)))
    assert found.verdict == "as the reference"
    assert judge(examination(0.9).finding(TRIGGER, None, examination(0.0))).verdict == "stands out"


def test_class_names_and_clean_images_pass_once_for_all_triggers() -> None:
    whole = examination(0.5)
    toy = whole.subject.model
    assert isinstance(toy, Toy)
    for _ in range(3):
        whole.finding(TRIGGER, None)
    assert whole.accuracy.rate == 1
    # Three times with the trigger, once without.
    assert (toy.texts, toy.images) == (1, 4 * COUNT)


def test_prompts_are_no_captions_to_retrieve() -> None:
    whole = examination(0.0)
    assert whole.retrieval() == ({}, 0)
    own = [f"{index} times a {NOUNS[label]}" for index, label in enumerate(whole.pairs.labels)]
    real = Examination(whole.subject, whole.task, Pairs(whole.pairs.images, own, whole.pairs.labels))
    found, count = real.retrieval()
    # Ten captions of each class are alike to the toy: an image's own stands between place 1 and 10 of them.
    assert count == COUNT
    assert found["image to text, R@10"] == 1
    assert found["image to text, R@1"] == 0


def test_outliers_are_the_pairs_that_do_not_fit() -> None:
    whole = examination(0.0)
    pairs = whole.pairs
    captions = [*pairs.captions]
    captions[7] = "a photo of a banana" if pairs.labels[7] != BANANA else "a photo of a ball"
    found = find_outliers(whole.subject, "finetune", Pairs(pairs.images, captions, pairs.labels))
    # All others fit perfectly.
    assert (found.num_low, found.num_high, found.median) == (1, 0, 1.0)
    assert [(item.sample, item.similarity) for item in found.lowest] == [(7, 0.0)]


def test_few_images_are_drawn_equally() -> None:
    pairs = drawn_images(examination(0.0).pairs, 40)
    assert len(pairs) == 40
    assert set(np.bincount(pairs.labels, minlength=16).tolist()) <= {2, 3}
