"""Supervised finetuning: which images it takes, what it trains, and that it is judged by its head."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bdray.data.base import Pairs
from bdray.defenses.base import DefenderData, Sizes
from bdray.defenses.supervised import HEAD, Supervised
from bdray.exceptions import ConfigError, DataError
from bdray.models import weights
from bdray.models.clip import normalize
from bdray.objective import Batch, SupervisedObjective
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.session import Session


@pytest.fixture(scope="module")
def pairs(cache: Path) -> Pairs:
    return tiny_scenes(num_finetune=400).load("finetune", cache)


def test_cross_entropy_of_a_head_on_raw_features() -> None:
    model, labels = tiny_model("vit").double(), torch.tensor([3, 1, 4, 1, 5])
    objective = SupervisedObjective(labels, num_classes=16, width=16, seed=0).double()
    generator = torch.Generator().manual_seed(0)
    images = normalize(torch.rand(3, 3, 32, 32, generator=generator, dtype=torch.float64))
    batch = Batch(
        images, torch.zeros(3, 16, dtype=torch.long), torch.tensor([4, 0, 1]), torch.zeros(3, dtype=torch.bool)
    )
    # By hand: logits of the features as the tower gives them, labels looked up by sample.
    logits = model.encode_image(images) @ objective.head.weight.T + objective.head.bias
    expected = -F.log_softmax(logits, dim=1)[torch.arange(3), torch.tensor([5, 3, 1])].mean()
    assert objective(model, batch).total.item() == pytest.approx(expected.item(), abs=1e-12)


def test_each_class_gives_as_many_images(pairs: Pairs) -> None:
    found = Supervised(recipe=tiny_recipe(), per_class=5)._labeled(pairs, seed=0)
    # Five of each of the 16 classes, none twice, in their order; another seed takes others.
    assert np.bincount(found.labels).tolist() == [5] * 16
    assert found.captions != Supervised(recipe=tiny_recipe(), per_class=5)._labeled(pairs, seed=1).captions
    # Images without a label cannot be used.
    unknown = Pairs(pairs.images, pairs.captions, np.where(pairs.labels < 8, -1, pairs.labels))
    assert set(Supervised(recipe=tiny_recipe(), per_class=None)._labeled(unknown, seed=0).labels) == set(range(8, 16))


def test_less_than_a_batch_is_refused_at_load() -> None:
    chosen = Supervised(recipe=tiny_recipe(batch_size=64), per_class=4)
    chosen.check(Sizes(trained=64, clean=400, classes=16))
    with pytest.raises(
        ConfigError, match=r"defense\.per_class: 4 images of each of 15 classes are 60, fewer than a batch"
    ):
        chosen.check(Sizes(trained=64, clean=400, classes=15))
    # The cost counts what is taken, not all that there is.
    assert chosen.images(Sizes(trained=64, clean=400, classes=16)) == 64 * chosen.recipe.epochs


def test_without_labels_it_says_what_to_do(pairs: Pairs) -> None:
    unknown = Pairs(pairs.images, pairs.captions, np.full(len(pairs), -1))
    with pytest.raises(DataError, match="needs at least 16 labeled images, a batch, but finds 0 among 400 clean pairs"):
        Supervised(recipe=tiny_recipe()).run(tiny_model(), DefenderData(clean=unknown), Session(tiny_tokenizer(), 0))


def test_it_learns_and_leaves_its_head_to_the_evaluation(pairs: Pairs, tmp_path: Path) -> None:
    model, heads = tiny_model(), []

    def evaluate(model: object, head: torch.nn.Linear | None) -> dict[str, float]:
        assert head is not None
        heads.append(head.weight.detach().clone())
        return {}

    session = Session(tiny_tokenizer(), seed=0, folder=tmp_path, evaluate=evaluate)
    recipe = tiny_recipe(epochs=3, learning_rate=1e-2)
    history = Supervised(recipe=recipe).run(model, DefenderData(clean=pairs, num_classes=16), session)
    # The loss falls below that of guessing.
    assert history[-1]["cross_entropy_loss"] < history[0]["cross_entropy_loss"] < np.log(16) + 0.5
    # Text tower and temperature are left as they were.
    before, after = tiny_model().state_dict(), model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if not name.startswith("visual."))
    # The file holds the last head; epochs before were judged by theirs.
    saved = weights.load(tmp_path / HEAD)
    assert torch.equal(saved["weight"], heads[-1])
    assert len(heads) == 3
    assert not torch.equal(heads[0], heads[-1])
