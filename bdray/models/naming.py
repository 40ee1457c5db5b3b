"""Names that others give to CLIP's tensors, in their checkpoints, and ours, which are open_clip's and OpenAI's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

NESTS = ("state_dict", "model", "model_state_dict")
"""Where a training's state keeps the weights: CleanCLIP's public code and open_clip in the first."""
PREFIXES = ("module.", "_orig_mod.")
"""Left in front of names by DataParallel and DDP, and by ``torch.compile``."""
CONSTANTS = ("input_resolution", "context_length", "vocab_size")
"""Numbers among the tensors of OpenAI's published models; the architecture has them, too."""
TEXT = ("text_projection", "positional_embedding", "token_embedding", "transformer.", "ln_final.")
"""Names of the text tower where it is no module of its own."""


def weights_in(content: Any) -> "dict[str, Tensor] | None":
    """The weights in what was read from a file, under plain names; None if it is no mapping of names to tensors."""
    import torch

    for key in NESTS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        return None
    found = {}
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, torch.Tensor)):
            return None
        found[_plain(name)] = value
    return found


def named_for(model: "nn.Module", tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors under the names that the model has for them, as far as they are the same in different words."""
    own = model.state_dict()
    found = {name: value for name, value in tensors.items() if name in own or name not in CONSTANTS}
    if "text.text_projection" in own and "text_projection" in found:
        found = {f"text.{name}" if name.startswith(TEXT) else name: value for name, value in found.items()}
    scale = "logit_scale"  # of shape [] for some, [1] for others
    if scale in found and scale in own and found[scale].numel() == own[scale].numel():
        found[scale] = found[scale].reshape(own[scale].shape)
    return found


def _plain(name: str) -> str:
    for prefix in PREFIXES * 2:
        name = name.removeprefix(prefix)
    return name
