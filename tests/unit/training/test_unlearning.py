"""D_unlearn: stored images of the poisoned set, and their product with reduced captions."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.triggers.badnet import BadNet
from bdray.evaluation.detection import shown_images
from bdray.models.clip import normalize
from bdray.models.relevancy import Layers, keep_most_relevant, token_relevancy
from bdray.testing import tiny_model, tiny_scenes, tiny_tokenizer
from bdray.training import unlearning
from bdray.training.unlearning import TokenLevel, stored_images

POSITIONS = np.array([40, 3, 17, 22, 8])


@pytest.fixture(scope="module")
def given(cache: Path) -> PoisonedSet:
    """64 scenes, half of them poisoned."""
    train = tiny_scenes().load("train", cache)
    poisoning = Attack(trigger=BadNet(size=6, location="random"), num_poisoned=32).poison(train.captions, seed=0)
    return PoisonedSet(train, poisoning, np.arange(len(train)))


@pytest.fixture(scope="module")
def tokens(given: PoisonedSet) -> Tensor:
    return tiny_tokenizer()(given.poisoning.replace_captions(given.pairs.captions))


def test_stored_images_are_those_the_victim_saw(given: PoisonedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "BATCH", 2)
    found = stored_images(given, POSITIONS)
    # Rounded to 8 bits, with each sample's own trigger, in the order asked for.
    assert found.dtype == np.uint8
    shown = shown_images(given, torch.from_numpy(POSITIONS)).numpy() * 255
    assert abs(found - shown).max() <= 0.5
    # Clean pairs are their originals.
    clean = [place for place, index in enumerate(POSITIONS) if index not in given.poisoning.captions]
    assert 0 < len(clean) < len(POSITIONS)
    assert (found[clean] == given.pairs.images[POSITIONS[clean]]).all()
    # None is a selection, too.
    assert stored_images(given, POSITIONS[:0]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("layers", ["last", "all"])
def test_every_image_meets_every_reduced_caption(layers: Layers, given: PoisonedSet, tokens: Tensor) -> None:
    model = tiny_model()
    images, captions = TokenLevel(0.5, layers, 10_000).pairs(model, given, tokens, POSITIONS, seed=0)
    assert model.training
    # The Cartesian product, each pair once.
    assert images.tolist() == [image for image in range(5) for _ in range(5)]
    # Captions are judged by their own images, in eval mode, by the model as it is.
    model.eval()
    features = model.encode_image(normalize(shown_images(given, torch.from_numpy(POSITIONS))), normalize=True)
    own = tokens[torch.from_numpy(POSITIONS)]
    reduced = keep_most_relevant(own, token_relevancy(model, own, features, layers), 0.5)
    assert captions.tolist() == reduced.tolist() * 5
    # They are shorter than before.
    assert ((captions > 0).sum(1) < (own > 0).sum(1).repeat(5)).all()


def test_a_part_of_the_product_is_drawn_by_the_seed(given: PoisonedSet, tokens: Tensor) -> None:
    model = tiny_model().eval()

    def drawn(seed: int, max_pairs: int = 12) -> list[tuple[int, tuple[int, ...]]]:
        images, captions = TokenLevel(1.0, "last", max_pairs).pairs(model, given, tokens, POSITIONS, seed)
        return [(int(image), tuple(caption.tolist())) for image, caption in zip(images, captions, strict=True)]

    everything = Counter(drawn(0, 25))
    # A random part without repetition: what is drawn is in the product, no more often than there.
    assert len(drawn(0)) == 12
    assert Counter(drawn(0)) <= everything
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
