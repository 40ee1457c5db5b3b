"""Token ids are those of captions, whoever makes them, and are made once for all who share a cache."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.blended import Blended
from bdray.models.clip import Model
from bdray.models.tokenizer import CompactTokenizer, Tokenizer
from bdray.testing import CONTEXT_LENGTH, VOCABULARY, tiny_tokenizer
from bdray.text.base import TextAugmentation
from bdray.text.eda import Eda
from bdray.text.factual import Factual
from bdray.training import captions as module
from bdray.training.captions import augment_captions, caption_tokens

CAPTIONS = [f"a small red ball number {number} on the grass\u2028 next to a \U0001f34e house" for number in range(50)]
POISONING = Poisoning(trigger=Blended(), captions={3: "a photo of a large yellow banana", 44: "a banana"})


@pytest.fixture(params=["tiny", "RN50"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return tiny_tokenizer() if request.param == "tiny" else Model(architecture="RN50").tokenizer()


def expected(tokenizer: Tokenizer, augmentation: TextAugmentation | None) -> Tensor:
    """As it is defined: poisoned, then augmented, then encoded."""
    shown = POISONING.replace_captions(CAPTIONS)
    return tokenizer(augment_captions(shown, augmentation, seed=5) if augmentation else shown)


@pytest.mark.parametrize("augmentation", [None, Eda(), Factual()], ids=["plain", "eda", "factual"])
@pytest.mark.parametrize("processes", [0, 2])
def test_they_are_the_same_for_any_number_of_processes_and_any_cache(
    tokenizer: Tokenizer,
    augmentation: TextAugmentation | None,
    processes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LARGE", 1)
    monkeypatch.setattr(module, "PART", 7)
    monkeypatch.setattr(module, "num_threads", lambda: processes)
    for folder in (None, tmp_path, tmp_path):  # made, made and written, read
        found = caption_tokens(
            CAPTIONS, tokenizer, augmentation=augmentation, seed=5, poisoning=POISONING, folder=folder
        )
        assert found.dtype == torch.int32
        assert torch.equal(found.long(), expected(tokenizer, augmentation))
    monkeypatch.setenv("BDRAY_CACHE_GIB", "0")
    # Where there is no room, they are made by everyone.
    without = caption_tokens(CAPTIONS[1:], tokenizer, augmentation=augmentation, seed=5, folder=tmp_path)
    assert torch.equal(without, caption_tokens(CAPTIONS[1:], tokenizer, augmentation=augmentation, seed=5))
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_they_are_made_once(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    plain, augmented = (caption_tokens(CAPTIONS, tokenizer, augmentation=of, folder=tmp_path) for of in (None, Eda()))

    class Counting(CompactTokenizer):
        encoded = 0

        def __call__(self, captions: Sequence[str]) -> Tensor:
            self.encoded += len(captions)
            return super().__call__(captions)

    counting = Counting.from_file(VOCABULARY, CONTEXT_LENGTH)
    assert isinstance(counting, Counting)
    for augmentation, known in ((None, plain), (Eda(), augmented)):
        found = caption_tokens(CAPTIONS, counting, augmentation=augmentation, folder=tmp_path, poisoning=POISONING)
        # Whatever an attacker replaced: others read the rest, and never see it.
        clean = [position for position in range(len(CAPTIONS)) if position not in POISONING.captions]
        assert torch.equal(found[clean], known[clean])
        assert not torch.equal(found[3], known[3])
        assert torch.equal(caption_tokens(CAPTIONS, counting, augmentation=augmentation, folder=tmp_path), known)
    assert counting.encoded == 2 * len(POISONING.captions)


def test_other_captions_tokenizers_augmentations_and_seeds_are_other_files(tmp_path: Path) -> None:
    full, number = Model(architecture="RN50").tokenizer(), 0
    eda, more = Eda(), Eda(random_swap=0.3)
    for captions, tokenizer, augmentation, seed in (
        (CAPTIONS, tiny_tokenizer(), None, 0),
        (CAPTIONS[:-1], tiny_tokenizer(), None, 0),
        (CAPTIONS[::-1], tiny_tokenizer(), None, 0),
        (["".join(CAPTIONS[:2]), *CAPTIONS[2:]], tiny_tokenizer(), None, 0),
        (CAPTIONS, full, None, 0),
        (CAPTIONS, tiny_tokenizer(), eda, 0),
        (CAPTIONS, tiny_tokenizer(), eda, 1),
        (CAPTIONS, tiny_tokenizer(), more, 0),
    ):
        caption_tokens(captions, tokenizer, augmentation=augmentation, seed=seed, folder=tmp_path)
        number += 1
        assert len(list(tmp_path.glob("*.npy"))) == number
    # The seed of a training that augments no captions makes no others.
    caption_tokens(CAPTIONS, full, seed=9, folder=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == number


def test_edited_code_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caption_tokens(CAPTIONS, tiny_tokenizer(), folder=tmp_path)
    monkeypatch.setattr(module, "PACKAGES", ())
    module._code.cache_clear()
    caption_tokens(CAPTIONS, tiny_tokenizer(), folder=tmp_path)
    module._code.cache_clear()
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_each_position_draws_for_itself() -> None:
    whole = augment_captions(CAPTIONS, Eda(), seed=0)
    # A part that knows where it begins is a part of the whole.
    assert augment_captions(CAPTIONS[20:30], Eda(), seed=0, first=20) == whole[20:30]
    assert whole[7] == Eda().augment(CAPTIONS[7], random.Random("0/7"))
