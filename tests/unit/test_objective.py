"""What a step minimizes: the weighted sum, the terms that are computed, and the passes through the towers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdray import objective
from bdray.losses import clip_loss, in_modal_loss
from bdray.objective import Batch, ContrastiveObjective, Loss, TrainingModule, gather
from bdray.testing import tiny_model

COUNT = 4


def batch(*, views: bool = True) -> Batch:
    """Random pixels and tokens, float64."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, COUNT, 3, 32, 32, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 800, (2, COUNT, 16), generator=generator)
    return Batch(
        images=pixels[0],
        tokens=tokens[0],
        samples=torch.arange(COUNT),
        is_poisoned=torch.zeros(COUNT, dtype=torch.bool),
        augmented_images=pixels[1] if views else None,
        augmented_tokens=tokens[1] if views else None,
    )


class Recorder(nn.Module):
    """Stands for a CLIP: linear towers that remember how many rows each call had."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.calls: list[tuple[str, int]] = []

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        assert normalize
        self.calls.append(("image", len(images)))
        return F.normalize(images.flatten(1)[:, :8], dim=-1)

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        assert normalize
        self.calls.append(("text", len(tokens)))
        return F.normalize(tokens[:, :8].double(), dim=-1)


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(3.0), "c": torch.tensor(5.0)}
    # A term without a weight counts once, a weight of 0 takes it out.
    assert Loss(terms).total.item() == 10
    assert Loss(terms, {"a": 0.5, "c": 0}).total.item() == 4
    assert Loss({"a": torch.tensor(2.0)}, {"a": 3}).total.item() == 6


def test_training_module_returns_the_total_with_gradient_and_the_terms_without() -> None:
    model = Recorder()
    total, terms = TrainingModule(model, ContrastiveObjective(2.0, 3.0))(batch())
    # The unweighted terms are for the log, the total is for the optimizer.
    assert set(terms) == {"clip_loss", "in_modal_loss"}
    assert total.item() == pytest.approx(2 * terms["clip_loss"].item() + 3 * terms["in_modal_loss"].item(), abs=1e-12)
    assert total.requires_grad
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize(
    ("clip_weight", "in_modal_weight", "terms", "rows"),
    [
        (1.0, 0.0, {"clip_loss"}, COUNT),
        (0.0, 1.0, {"in_modal_loss"}, 2 * COUNT),
        (1.0, 0.5, {"clip_loss", "in_modal_loss"}, 2 * COUNT),
    ],
)
def test_only_terms_with_a_weight_are_computed(
    clip_weight: float, in_modal_weight: float, terms: set[str], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*features: Tensor) -> Tensor:
        raise AssertionError("computed a term of weight 0")

    for name in {"clip_loss", "in_modal_loss"} - terms:
        monkeypatch.setattr(objective, name, forbidden)
    model, minimized = Recorder(), ContrastiveObjective(clip_weight, in_modal_weight)
    # Views are asked for only where the in-modal loss is on, and not touched where it is off.
    assert minimized.needs_views == (in_modal_weight > 0)
    loss = minimized(model, batch(views=minimized.needs_views))
    assert set(loss.terms) == terms
    # Each tower is passed once: originals and views together.
    assert model.calls == [("image", rows), ("text", rows)]


@pytest.mark.parametrize(("clip_weight", "in_modal_weight"), [(1.0, 0.0), (0.0, 2.0), (0.5, 4.0)])
def test_one_pass_gives_what_two_passes_give(clip_weight: float, in_modal_weight: float) -> None:
    model, data = tiny_model("vit").double(), batch()
    assert data.augmented_images is not None
    assert data.augmented_tokens is not None
    loss = ContrastiveObjective(clip_weight, in_modal_weight)(model, data)
    images, image_views = (model.encode_image(part, normalize=True) for part in (data.images, data.augmented_images))
    texts, text_views = (model.encode_text(part, normalize=True) for part in (data.tokens, data.augmented_tokens))
    scale = model.logit_scale.exp()
    in_modal = (in_modal_loss(images, image_views, scale) + in_modal_loss(texts, text_views, scale)) / 2
    expected = clip_weight * clip_loss(images, texts, scale) + in_modal_weight * in_modal
    # Equation 1 with towers passed one view at a time; a tower without batch norm treats rows one by one.
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-12)


def test_batch_norm_sees_originals_and_views_together() -> None:
    data = batch()
    assert data.augmented_images is not None
    together, apart = tiny_model("resnet").double().train(), tiny_model("resnet").double().train()
    ContrastiveObjective(1.0, 1.0)(together, data)
    apart.encode_image(torch.cat([data.images, data.augmented_images]))
    # The running statistics are those of one batch of 2N, as in CleanCLIP's public code.
    for name, value in together.visual.named_buffers():
        torch.testing.assert_close(value, apart.visual.get_buffer(name), rtol=0, atol=0)


def test_alone_there_is_nothing_to_gather() -> None:
    features = torch.ones(2, 3)
    assert gather(features) is features
