"""Captions without their padding have the features, loss and gradient of captions with it."""

import open_clip
import pytest
import torch
from torch import Tensor

from bdray.models import text_tower
from bdray.models.execution import Execution
from bdray.models.text_tower import without_padding
from bdray.models.towers import Towers
from bdray.objective import Batch, ContrastiveObjective
from bdray.testing import CONTEXT_LENGTH, TOWERS, tiny_model, tiny_tokenizer

SHORT, LONGER = ["a cat", "a dog"], ["a small red cat", "an old dog on grass"]


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that sixteen tokens are several steps."""
    monkeypatch.setattr(text_tower, "STEP", 4)


def test_what_is_left_out_is_padding() -> None:
    tokenizer = tiny_tokenizer()
    given = tokenizer(SHORT), tokenizer(LONGER)
    lengths = [int((part != 0).sum(1).max()) for part in given]
    kept = without_padding(*given)
    # Both are as long as the longest caption of either, in steps of four, and nothing but zeros is gone.
    assert lengths[0] < lengths[1] <= 12 < CONTEXT_LENGTH
    assert [part.shape[1] for part in kept] == [12, 12]
    assert all(not part[:, 12:].any() and torch.equal(part[:, :12], few) for part, few in zip(given, kept, strict=True))


def test_a_caption_that_fills_the_context_stays() -> None:
    full = torch.ones(3, 14, dtype=torch.int32)
    # Rounding up does not go beyond what is there.
    assert torch.equal(without_padding(full)[0], full)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradient_are_those_of_padded_captions(checkpointing: bool) -> None:
    tokenizer = tiny_tokenizer()
    padded = tokenizer(SHORT), tokenizer(LONGER)
    found = [loss_and_gradients(tokens, checkpointing) for tokens in (padded, without_padding(*padded))]
    assert found[0].keys() == found[1].keys()
    for name, expected in found[0].items():
        # In float64, for every parameter: the embeddings of positions that were left out get a gradient of zero.
        torch.testing.assert_close(found[1][name], expected, rtol=1e-11, atol=1e-14)
    assert found[0]["positional_embedding"][12:].abs().max() == 0 < found[0]["positional_embedding"][0].abs().max()


def loss_and_gradients(tokens: tuple[Tensor, ...], checkpointing: bool) -> dict[str, Tensor]:
    """Of CleanCLIP's objective."""
    model = tiny_model("vit").double().train()
    model.set_grad_checkpointing(checkpointing)
    pixels = torch.randn(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nobody = torch.zeros(2, dtype=torch.bool)
    batch = Batch(pixels[0], tokens[0], torch.arange(2), nobody, pixels[1], tokens[1])
    loss = ContrastiveObjective(1.0, 1.0)(Towers(model, Execution(), trains=True), batch).total
    loss.backward()
    return {"loss": loss.detach(), **{name: value.grad for name, value in model.named_parameters()}}


@pytest.mark.parametrize("other", [{"no_causal_mask": True}, {"pool_type": "last"}], ids=str)
@pytest.mark.parametrize("kind", [open_clip.CLIP, open_clip.CustomTextCLIP])
def test_other_towers_get_the_padding_back(kind: type[open_clip.CLIP], other: dict[str, object]) -> None:
    tokenizer = tiny_tokenizer()
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": tokenizer.vocab_size, "width": 16, "heads": 2, "layers": 1}
    model = kind(embed_dim=16, vision_cfg={"image_size": 32, **TOWERS["vit"]}, text_cfg={**text, **other}).eval()
    padded = tokenizer(SHORT)
    (cut,) = without_padding(padded)
    # These read behind the end-of-text, so only the padded caption has the right features.
    assert torch.equal(Towers(model, Execution()).encode_text(cut), model.encode_text(padded))
