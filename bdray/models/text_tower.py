"""Captions without the padding behind them: a causal text tower reads a caption no further than its end-of-text."""

import open_clip
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

STEP = 16
"""Lengths are multiples of this, so that few shapes occur."""


def without_padding(*tokens: Tensor) -> tuple[Tensor, ...]:
    """Leave out the last columns that are padding everywhere, but for what fills a step.

    Args:
        tokens: Token ids on the CPU, integers [N, L] each, padded with 0.

    Returns:
        The same, [N, l] each: l is the length of the longest caption in any of them, rounded up, and at most L.
    """
    longest = max(int(part.any(0).nonzero().max()) + 1 for part in tokens)
    return tuple(part[:, : -(-longest // STEP) * STEP] for part in tokens)


def encode_text(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """``model.encode_text``, also of captions without their padding.

    In a causal tower nothing flows back from behind the end-of-text, whose features these are. Left out is work only:
    loss and gradient agree but for the last digits. Other towers get the padding back.

    Args:
        model: On its device.
        tokens: As from :func:`without_padding`.

    Returns:
        Features, [N, D], not normalized.
    """
    length = tokens.shape[1]
    if length == model.context_length or not _stops_at_the_end(model):
        padded: Tensor = model.encode_text(F.pad(tokens, (0, model.context_length - length)))
        return padded
    kind = model.transformer.get_cast_dtype()
    embedded = model.token_embedding(tokens).to(kind) + model.positional_embedding[:length].to(kind)
    read = model.ln_final(model.transformer(embedded, attn_mask=model.attn_mask[:length, :length]))
    pooled: Tensor = text_global_pool(read, tokens, model.text_pool_type, eos_token_id=model.text_eos_id)
    projection = model.text_projection
    if projection is None:
        return pooled
    features: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
    return features


def _stops_at_the_end(model: open_clip.CLIP) -> bool:
    """Whether it is open_clip's plain tower, causal and read at the end-of-text."""
    return (
        isinstance(model, open_clip.CLIP) and model.attn_mask is not None and model.text_pool_type in ("argmax", "eos")
    )
