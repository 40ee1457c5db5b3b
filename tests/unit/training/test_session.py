"""What a session makes of images and captions before the loop sees them."""

from dataclasses import replace
from pathlib import Path

import open_clip
import torch

from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.blended import Blended
from bdray.data.base import Pairs
from bdray.models.execution import Execution
from bdray.objective import Batch, ContrastiveObjective, Loss
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.text.eda import Eda
from bdray.training.captions import augment_captions
from bdray.training.session import Session

POISONING = Poisoning(trigger=Blended(), captions={5: "a photo of a banana", 40: "a banana"})


class Watching:
    """An objective that remembers the batches."""

    def __init__(self, in_modal_weight: float) -> None:
        self.minimized, self.batches = ContrastiveObjective(1.0, in_modal_weight), list[Batch]()
        self.needs_views = self.minimized.needs_views

    def __call__(self, model: open_clip.CLIP, batch: Batch) -> Loss:
        self.batches.append(batch)
        return self.minimized(model, batch)


def watched(pairs: Pairs, in_modal_weight: float, **arguments: object) -> list[Batch]:
    objective = Watching(in_modal_weight)
    session = Session(tokenizer=tiny_tokenizer(), seed=3)
    session.train(
        tiny_model("vit"),
        objective,
        tiny_recipe(epochs=1),
        pairs.images,
        pairs.captions,
        text_augmentation=Eda(),
        **arguments,  # type: ignore[arg-type]
    )
    return objective.batches


def test_captions_are_poisoned_then_augmented(cache: Path) -> None:
    pairs, tokenizer = tiny_scenes().load("train", cache), tiny_tokenizer()
    captions = POISONING.replace_captions(pairs.captions)
    tokens, augmented = tokenizer(captions), tokenizer(augment_captions(captions, Eda(), seed=3))
    batches = watched(pairs, 1.0, poisoning=POISONING)
    # Every batch has the captions of its samples, the attacker's where there are any, and second views of these.
    assert sum(len(batch.samples) for batch in batches) == len(pairs)
    for batch in batches:
        assert batch.augmented_tokens is not None
        assert torch.equal(batch.tokens, tokens[batch.samples])
        assert torch.equal(batch.augmented_tokens, augmented[batch.samples])
    assert sum(int(batch.is_poisoned.sum()) for batch in batches) == 2


def test_neither_a_cache_nor_who_augments_changes_the_model(cache: Path, tmp_path: Path) -> None:
    pairs, found = tiny_scenes().load("train", cache), []
    plain = Session(tokenizer=tiny_tokenizer(), seed=3)
    shared = replace(plain, cache=tmp_path)  # written by the first, read by the second
    for session in (plain, shared, shared, replace(shared, execution=Execution(augmentation="device"))):
        model = tiny_model("vit")
        session.train(
            model,
            ContrastiveObjective(1.0, 1.0),
            tiny_recipe(),
            pairs.images,
            pairs.captions,
            text_augmentation=Eda(),
            poisoning=POISONING,
        )
        found.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_no_views_are_made_that_nobody_asks_for(cache: Path) -> None:
    (first, *_) = watched(tiny_scenes().load("train", cache), 0.0)
    # FT pays nothing for augmentations.
    assert first.augmented_images is None
    assert first.augmented_tokens is None


def test_phases_keep_checkpoints_of_their_own(cache: Path, tmp_path: Path) -> None:
    pairs = tiny_scenes().load("finetune", cache)
    session = Session(tokenizer=tiny_tokenizer(), seed=0, workspace=tmp_path)
    for phase in ("overfit", "unlearn"):
        history = session.train(
            tiny_model("vit"), ContrastiveObjective(), tiny_recipe(), pairs.images, pairs.captions, phase=phase
        )
        # The second phase does not take the first one's end for its own.
        assert len(history) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"overfit", "unlearn"}
