"""Which tokens of a caption make its similarity to an image: attention relevancy in CLIP's text transformer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import open_clip
import torch
from torch import Tensor, nn

Layers = Literal["last", "all"]
"""``last``: relevancy starts at the last layer, as in the public code that UBT's authors use. ``all``: from the first
one, as in the text of Chefer et al."""
BATCH = 64


def token_relevancy(
    model: open_clip.CLIP, tokens: Tensor, image_features: Tensor, layers: Layers = "last", batch: int = BATCH
) -> Tensor:
    """Share of each token in the similarity of caption and image (Chefer et al. 2021, Eqs. 5 and 6).

    From the identity, ``R <- R + mean_heads(relu(grad * attention)) R`` over the layers, where ``grad`` is the gradient
    of the pair's logit in the attention; the row of the end-of-text token, without start and end, is scaled to a sum of
    one.

    Args:
        model: In eval mode. Neither its weights nor their gradients change.
        tokens: Captions, integers [N, L], end-of-text being the largest id of each.
        image_features: Unit features of each caption's image, float [N, D].
        layers: Where relevancy starts.
        batch: Captions that pass the tower at a time.

    Returns:
        float32 [N, L] on the device of ``tokens``: zero at start, end and padding, and a sum of one over the rest of
        each row; all zero where no attention speaks for the pair, or where a caption has no tokens.
    """
    parts = zip(tokens.split(batch), image_features.split(batch), strict=True)
    return torch.cat([_relevancy(model, some, features, layers) for some, features in parts])


def keep_most_relevant(tokens: Tensor, relevancy: Tensor, share: float) -> Tensor:
    """Remove the least relevant tokens of each caption.

    Args:
        tokens: Captions, integers [N, L], padded with 0, end-of-text being the largest id of each.
        relevancy: Of each token, float [N, L].
        share: Of a caption's tokens, without start and end, that stay, in (0, 1]; rounded up, so that one always stays.

    Returns:
        Integers [N, L]: what stays, in its order, between start and end. Among equals the first ones stay.
    """
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    is_inner = _is_inner(tokens)
    inner = is_inner.sum(1, keepdim=True)
    kept = (inner.double() * share - 1e-9).ceil()  # 0.28 of 25 is 7, though floats make it a little more
    ranked = relevancy.masked_fill(~is_inner, -torch.inf).argsort(dim=1, descending=True, stable=True)
    stays = torch.zeros_like(is_inner).scatter(1, ranked, positions < kept)
    stays |= ~is_inner & (positions <= inner + 1)  # start and end
    front = (~stays).to(torch.uint8).argsort(dim=1, stable=True)
    return (tokens * stays).gather(1, front)


def _relevancy(model: open_clip.CLIP, tokens: Tensor, image_features: Tensor, layers: Layers) -> Tensor:
    transformer = model.transformer if hasattr(model, "transformer") else model.text.transformer
    blocks = transformer.resblocks
    watched = [block.attn for block in (blocks[-1:] if layers == "last" else blocks)]
    with torch.enable_grad(), _in_one_pass(transformer), _attention_of(watched) as attention:
        text_features = model.encode_text(tokens, normalize=True)
        logits = model.logit_scale.exp().detach() * (image_features.detach() * text_features).sum(-1)
        gradients = torch.autograd.grad(logits.sum(), attention)  # a caption's logit knows no other caption's attention
    relevancy = torch.eye(tokens.shape[1], device=tokens.device).expand(len(tokens), -1, -1)
    for gradient, weights in zip(gradients, attention, strict=True):
        relevancy = relevancy + (gradient * weights).detach().float().relu().mean(1) @ relevancy
    rows = relevancy[torch.arange(len(tokens), device=tokens.device), tokens.argmax(1)] * _is_inner(tokens)
    return rows / rows.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def _is_inner(tokens: Tensor) -> Tensor:
    """Whether each token stands between start and end, bool [N, L]."""
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    return (positions > 0) & (positions < tokens.argmax(1, keepdim=True))


@contextmanager
def _in_one_pass(transformer: Any) -> Iterator[None]:
    """Let a transformer keep its activations: passing a second time, it would show its attention a second time."""
    was_checkpointing = transformer.grad_checkpointing
    transformer.grad_checkpointing = False
    try:
        yield
    finally:
        transformer.grad_checkpointing = was_checkpointing


@contextmanager
def _attention_of(modules: Sequence[nn.MultiheadAttention]) -> Iterator[list[Tensor]]:
    """Collect the attention weights, [N, heads, L, L], of each module's next call, as parts of its gradient graph."""
    found: list[Tensor] = []
    hooks = [module.register_forward_hook(partial(_attend, found), with_kwargs=True) for module in modules]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _attend(
    found: list[Tensor], module: nn.MultiheadAttention, inputs: Sequence[Tensor], options: dict[str, Any], output: Any
) -> tuple[Tensor, None]:
    """Self-attention step by step, whose result takes the place of the fused one, which shows no weights."""
    assert module.batch_first and module.in_proj_weight is not None
    (features, *_), mask = inputs, options["attn_mask"]
    projected = nn.functional.linear(features, module.in_proj_weight, module.in_proj_bias)
    queries, keys, values = (
        part.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for part in projected.chunk(3, -1)
    )
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    weights = (scores + mask if mask is not None else scores).softmax(-1)
    if not weights.requires_grad:  # the model may be frozen
        weights.requires_grad_()
    found.append(weights)
    mixed = (weights @ values).transpose(1, 2).flatten(-2)
    return module.out_proj(mixed), None
