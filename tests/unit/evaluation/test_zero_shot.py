"""Features of an evaluation set: no sample is lost, and class weights are the papers'."""

import pytest
import torch
import torch.nn.functional as F

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.blended import Blended
from bdray.data.base import Pairs
from bdray.data.scenes import Scenes, render
from bdray.evaluation import zero_shot
from bdray.evaluation.zero_shot import EVALUATION_SAMPLES, class_weights, encode
from bdray.models.clip import normalize
from bdray.testing import tiny_model, tiny_tokenizer

ATTACK = Attack(trigger=Blended(), target="boot", num_poisoned=1)


def pairs(count: int) -> Pairs:
    images, captions, labels = render(0, "test", 0)
    return Pairs(images[:count], captions[:count], labels[:count])


@pytest.mark.parametrize("batch", [1, 3, 7, 10, 256])
def test_no_sample_is_lost_whatever_the_batch(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tiny_model("vit").eval(), pairs(10)
    monkeypatch.setattr(zero_shot, "BATCH", batch)
    found = encode(model, tiny_tokenizer(), Scenes(), data, ATTACK.trigger, ATTACK.target)
    images = torch.from_numpy(data.images).float() / 255
    with torch.no_grad():
        clean = model.encode_image(normalize(images), normalize=True)
        triggered = model.encode_image(
            normalize(ATTACK.trigger.apply(images, EVALUATION_SAMPLES + torch.arange(10))), normalize=True
        )
    # Row i is image i, clean and with the trigger that it gets in evaluation, as if all had passed at once.
    torch.testing.assert_close(found.clean, clean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.triggered, triggered, rtol=0, atol=1e-5)
    assert (found.clean - found.triggered).norm(dim=1).min() > 1e-3
    # Labels and target are those of the data set's classes.
    assert found.labels.tolist() == data.labels.tolist()
    assert Scenes().class_names()[found.target] == "boot"
    # All features have unit length.
    for features in (found.clean, found.triggered, found.classes):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))


def test_class_weights_average_the_templates() -> None:
    model, tokenizer = tiny_model("vit").eval(), tiny_tokenizer()
    names, templates = ["ball", "red box", "boot"], ["a photo of a {}", "{}", "a drawing of a {}"]
    found = class_weights(model, tokenizer, names, templates)
    with torch.no_grad():
        for name, weight in zip(names, found, strict=True):
            prompts = tokenizer([template.format(name) for template in templates])
            # Normalize each text's features, average, normalize again (CleanCLIP's src/evaluate.py:58-67).
            expected = F.normalize(F.normalize(model.encode_text(prompts), dim=-1).mean(0), dim=0)
            torch.testing.assert_close(weight, expected, rtol=0, atol=1e-5)
    # With one template it is that text.
    (single,) = class_weights(model, tokenizer, ["ball"], ["a photo of a {}"])
    with torch.no_grad():
        (expected,) = model.encode_text(tokenizer(["a photo of a ball"]), normalize=True)
    torch.testing.assert_close(single, expected, rtol=0, atol=1e-5)


def test_class_weights_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (tiny_model("vit").eval(), tiny_tokenizer(), Scenes().class_names(), ["a {}", "the {}", "{}"])
    whole = class_weights(*arguments)
    monkeypatch.setattr(zero_shot, "BATCH", 5)  # no multiple of the number of templates
    torch.testing.assert_close(class_weights(*arguments), whole, rtol=0, atol=1e-5)
    assert whole.shape == (16, 16)


def test_evaluation_changes_nothing() -> None:
    model = tiny_model("resnet").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = (
        encode(model, tiny_tokenizer(), Scenes(), pairs(5), ATTACK.trigger, ATTACK.target) for _ in range(2)
    )
    # Twice the same numbers; neither weights, statistics, gradients nor the global generator have moved.
    assert torch.equal(first.clean, second.clean)
    assert torch.equal(first.triggered, second.triggered)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not first.clean.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
