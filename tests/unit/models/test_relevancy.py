"""Relevancy of tokens against Chefer et al.'s rule worked out on a text tower written as loops, and what is kept."""

from typing import cast

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray.models.relevancy import Layers, keep_most_relevant, token_relevancy
from bdray.testing import CONTEXT_LENGTH, tiny_model, tiny_tokenizer

CAPTIONS = ["a photo of a banana", "ball", "there is a small red ring next to a boot", "", "12 + !"]
LAYERS: tuple[Layers, ...] = ("last", "all")


def deep_model(layers: int = 3) -> open_clip.CLIP:
    """The tiny model with more layers of text, in float64 and eval mode."""
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": tiny_tokenizer().vocab_size, "width": 16, "heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(
            embed_dim=16,
            quick_gelu=True,
            vision_cfg={"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
            text_cfg={**text, "layers": layers, "mlp_ratio": 2.0},
        )
        for block in model.transformer.resblocks:  # attention that looks at something
            torch.nn.init.normal_(block.attn.in_proj_weight, std=0.7)
            torch.nn.init.normal_(block.attn.in_proj_bias, std=0.3)
    return model.double().eval()


def image_features(count: int) -> Tensor:
    rows = torch.randn(count, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return F.normalize(rows, dim=-1)


def tower(model: open_clip.CLIP, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Features of one caption, [D], and the attention weights of each layer, a list of [heads, L, L]."""
    x, attention = model.token_embedding(tokens) + model.positional_embedding, []
    for block in model.transformer.resblocks:
        normed, width, heads = block.ln_1(x), x.shape[1], block.attn.num_heads
        size, parts, weights = width // heads, [], []
        q, k, v = F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias).split(width, dim=1)
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            weights.append((q[:, own] @ k[:, own].T / size**0.5 + model.attn_mask).softmax(dim=1))
        attention.append(torch.stack(weights))
        parts = [attention[-1][head] @ v[:, head * size : (head + 1) * size] for head in range(heads)]
        x = x + block.attn.out_proj(torch.cat(parts, dim=1))
        x = x + block.mlp(block.ln_2(x))
    features = model.ln_final(x)[tokens.argmax()] @ model.text_projection
    return F.normalize(features, dim=0), attention


def relevancy_by_loops(model: open_clip.CLIP, tokens: Tensor, image: Tensor, layers: Layers) -> Tensor:
    """Chefer et al. 2021, Eqs. 5 and 6, for one caption, [L]."""
    features, attention = tower(model, tokens)
    used = attention[-1:] if layers == "last" else attention
    gradients = torch.autograd.grad(model.logit_scale.exp() * image @ features, used)
    end, relevancy = int(tokens.argmax()), torch.eye(len(tokens), dtype=torch.float64)
    for gradient, weights in zip(gradients, used, strict=True):
        mean = torch.zeros_like(relevancy)
        for head in range(len(weights)):
            mean += (gradient[head] * weights[head]).clamp(min=0) / len(weights)
        relevancy = relevancy + mean @ relevancy
    row = torch.zeros(len(tokens), dtype=torch.float64)
    row[1:end] = relevancy[end, 1:end]
    return row / row.sum() if row.sum() > 0 else row


def test_the_loops_are_the_models_own_text_tower() -> None:
    model, tokens = deep_model(), tiny_tokenizer()(CAPTIONS)
    # Or the test below would compare with something else.
    for row, expected in zip(tokens, model.encode_text(tokens, normalize=True), strict=True):
        torch.testing.assert_close(tower(model, row)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", LAYERS)
def test_relevancy_is_that_of_direct_differentiation(layers: Layers) -> None:
    model, tokens, images = deep_model(), tiny_tokenizer()(CAPTIONS), image_features(len(CAPTIONS))
    found = token_relevancy(model, tokens, images, layers)
    assert found.dtype == torch.float32
    expected = [relevancy_by_loops(model, row, image, layers) for row, image in zip(tokens, images, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected).float(), rtol=1e-5, atol=1e-6)
    # The comparison is of something: tokens differ in relevancy, and none of it falls on start, end and padding.
    ends = tokens.argmax(1)
    assert found[2, 1 : ends[2]].std() > 0.01
    sums = found.sum(1)
    assert all(value == pytest.approx(1, abs=1e-6) or value == 0 for value in sums.tolist())
    assert sums[0] > 0
    assert all(found[row, 0] == 0 and (found[row, end:] == 0).all() for row, end in enumerate(ends.tolist()))
    # A caption without tokens has nothing that could be relevant.
    assert sums[3] == 0


def test_layers_matter() -> None:
    model, tokens, images = deep_model(), tiny_tokenizer()(CAPTIONS), image_features(len(CAPTIONS))
    first, second = (token_relevancy(model, tokens, images, layers) for layers in LAYERS)
    assert not torch.allclose(first, second, atol=1e-3)
    # A tower of one layer has only a last one.
    shallow = deep_model(layers=1)
    first, second = (token_relevancy(shallow, tokens, images, layers) for layers in LAYERS)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("layers", LAYERS)
def test_a_caption_is_judged_alone(layers: Layers) -> None:
    model, tokens, images = deep_model(), tiny_tokenizer()(CAPTIONS), image_features(len(CAPTIONS))
    # Whatever else is in the batch, and in parts as well as at once.
    together = token_relevancy(model, tokens, images, layers)
    for batch in (1, 2):
        found = token_relevancy(model, tokens, images, layers, batch=batch)
        torch.testing.assert_close(found, together, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_model_stays_as_it_was(frozen: bool) -> None:
    model, tokens, images = deep_model(), tiny_tokenizer()(CAPTIONS), image_features(len(CAPTIONS))
    expected = token_relevancy(model, tokens, images, "all")
    before, features = {name: value.clone() for name, value in model.state_dict().items()}, model.encode_text(tokens)
    model.requires_grad_(not frozen)
    with torch.no_grad():
        found = token_relevancy(model, tokens, images, "all")
    # A frozen model, and a caller without gradients, get the same.
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    # No weight changes, none has a gradient, no hook stays.
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad != frozen for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    torch.testing.assert_close(model.encode_text(tokens), features, rtol=0, atol=0)


def test_hooks_go_even_if_something_fails() -> None:
    model, tokens = tiny_model("vit").eval(), tiny_tokenizer()(CAPTIONS)
    with pytest.raises(RuntimeError):
        token_relevancy(model, tokens, torch.zeros(len(CAPTIONS), 3))
    assert not any(module._forward_hooks for module in model.modules())


def kept(caption: str, relevancy: list[float], share: float) -> list[int]:
    """Which of a caption's tokens stay, after checks of what stands around them."""
    tokenizer = tiny_tokenizer()
    tokens = tokenizer([caption])
    number = len(tokenizer.encode(caption))
    assert number == len(relevancy)
    scores = torch.zeros(1, CONTEXT_LENGTH)
    scores[0, 1 : 1 + number] = torch.tensor(relevancy)
    (row,) = keep_most_relevant(tokens, scores, share).tolist()
    end = row.index(tokenizer.end)
    # A caption like any other: start, tokens, end, padding.
    assert row[0] == tokenizer.start
    assert row[end + 1 :] == [0] * (CONTEXT_LENGTH - end - 1)
    return cast(list[int], row[1:end])


def test_the_most_relevant_tokens_stay_in_their_order() -> None:
    caption, relevancy = "a photo of a banana", [0.1, 0.3, 0.0, 0.2, 0.4]
    a, photo, of, a_again, banana = tiny_tokenizer().encode(caption)
    assert kept(caption, relevancy, 0.4) == [photo, banana]
    assert kept(caption, relevancy, 0.6) == [photo, a_again, banana]
    # All of them stay, or one at least: shares are rounded up.
    assert kept(caption, relevancy, 1.0) == [a, photo, of, a_again, banana]
    assert kept(caption, relevancy, 0.2) == [banana]
    assert kept(caption, relevancy, 0.001) == [banana]
    assert kept(caption, relevancy, 0.41) == [photo, a_again, banana]
    # Among equals the first ones stay.
    assert kept(caption, [0.2] * 5, 0.4) == [a, photo]


def test_a_share_is_not_rounded_up_by_an_error_of_floats() -> None:
    tokens = torch.tensor([[98, *range(1, 26), 99, 0, 0]])
    relevancy = torch.zeros(tokens.shape)
    # 0.28 of 25 tokens are 7, though floats say 7.000000000000001; start and end stay beside them.
    assert 0.28 * 25 > 7
    assert keep_most_relevant(tokens, relevancy, 0.28).tolist() == [[98, *range(1, 8), 99, *[0] * 20]]


def test_nothing_is_lost_that_a_caption_does_not_have() -> None:
    tokenizer = tiny_tokenizer()
    full = "a " * 30
    tokens = tokenizer(["", full])
    found = keep_most_relevant(tokens, torch.rand(2, CONTEXT_LENGTH), 0.5)
    # An empty caption stays empty; one that fills the context keeps half of it.
    assert found[0].tolist() == tokens[0].tolist()
    assert found[1].tolist() == [tokenizer.start, *tokens[1, 1:8].tolist(), tokenizer.end, *[0] * 7]
