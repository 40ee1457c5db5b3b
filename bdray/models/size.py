"""How large an architecture is: parameters and floating-point operations, counted from its JSON.

Counted rather than measured, because a plan must know both without building a model or importing torch. Only image
towers of timm, whose JSON does not tell their layers, are built without memory and counted by torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bdray.models.clip import Model

Description = Mapping[str, Any]


@dataclass(frozen=True)
class ModelSize:
    """Of one CLIP."""

    parameters: int
    """Learned numbers, batch normalization's running statistics not among them."""
    flops: int
    """Floating-point operations of one image-text pair on its way forward; a multiplication with its addition is two.
    Normalizations, activations and pooling are left out."""

    def __add__(self, other: "ModelSize") -> "ModelSize":
        return ModelSize(self.parameters + other.parameters, self.flops + other.flops)


def size_of(model: "Model") -> ModelSize:
    """Count any model."""
    return model_size(model.description()) or _counted_by_torch(model)


@cache
def _counted_by_torch(model: "Model") -> ModelSize:
    """Pass the shapes of one pair through the model without its numbers: takes seconds, of which torch takes most."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    skeleton, image_size = model.skeleton(), model.description()["vision_cfg"]["image_size"]
    context_length = model.description()["text_cfg"].get("context_length", 77)
    image = torch.zeros(1, 3, image_size, image_size, device="meta")
    text = torch.zeros(1, context_length, dtype=torch.long, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        skeleton.eval()(image, text)
    return ModelSize(sum(parameter.numel() for parameter in skeleton.parameters()), counter.get_total_flops())


def model_size(description: Description) -> ModelSize | None:
    """Count a model with open_clip's ModifiedResNet or VisionTransformer and its text transformer.

    Args:
        description: The architecture's JSON.

    Returns:
        None for an image tower of another kind.
    """
    vision, embed_dim = description["vision_cfg"], int(description["embed_dim"])
    if vision.get("timm_model_name"):
        return None
    image = _resnet(vision, embed_dim) if isinstance(vision["layers"], list | tuple) else _vit(vision, embed_dim)
    return image + _text(description["text_cfg"], embed_dim) + ModelSize(1, 0)  # the temperature


def _linear(inputs: int, outputs: int, times: int = 1, *, has_bias: bool = True) -> ModelSize:
    return ModelSize(inputs * outputs + outputs * has_bias, 2 * inputs * outputs * times)


def _conv(inputs: int, outputs: int, kernel: int, side: int) -> ModelSize:
    """A convolution without bias that puts out ``side`` x ``side`` pixels, with its batch normalization."""
    weights = inputs * outputs * kernel * kernel
    return ModelSize(weights + 2 * outputs, 2 * weights * side * side)


def _transformer(width: int, layers: int, ratio: float, tokens: int) -> ModelSize:
    hidden = int(width * ratio)
    parts = (
        _linear(width, 3 * width, tokens),
        ModelSize(0, 4 * tokens * tokens * width),  # who attends to whom, and what they get
        _linear(width, width, tokens),
        _linear(width, hidden, tokens),
        _linear(hidden, width, tokens),
        ModelSize(4 * width, 0),  # two layer normalizations
    )
    block = sum(parts, ModelSize(0, 0))
    return ModelSize(layers * block.parameters, layers * block.flops)


def _text(config: Description, embed_dim: int) -> ModelSize:
    width, tokens = int(config["width"]), int(config.get("context_length", 77))
    tables = (int(config.get("vocab_size", 49408)) + tokens) * width
    body = _transformer(width, int(config["layers"]), float(config.get("mlp_ratio", 4.0)), tokens)
    return ModelSize(tables + 2 * width, 0) + body + _linear(width, embed_dim, has_bias=False)


def _vit(config: Description, embed_dim: int) -> ModelSize:
    width, patch = int(config["width"]), int(config["patch_size"])
    patches = (_side(config) // patch) ** 2
    body = _transformer(width, int(config["layers"]), float(config.get("mlp_ratio", 4.0)), patches + 1)
    tables = ModelSize((patches + 2) * width + 4 * width, 0)  # class token, positions, normalizations before and after
    stem = _linear(3 * patch * patch, width, patches, has_bias=False)
    return tables + stem + body + _linear(width, embed_dim, has_bias=False)


def _resnet(config: Description, embed_dim: int) -> ModelSize:
    """open_clip's ModifiedResNet: a stem of three convolutions, bottlenecks, and attention in place of pooling."""
    width, side = int(config["width"]), _side(config) // 2
    total = _conv(3, width // 2, 3, side) + _conv(width // 2, width // 2, 3, side) + _conv(width // 2, width, 3, side)
    side, inputs = side // 2, width
    for stage, blocks in enumerate(config["layers"]):
        planes = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            total += _bottleneck(inputs, planes, side, stride)
            side, inputs = side // stride, 4 * planes
    tokens = side * side + 1
    # open_clip lets every place ask, and then keeps the mean's answer only.
    attention = ModelSize(tokens * inputs, 4 * tokens * tokens * inputs)
    for outputs in (inputs, inputs, inputs, embed_dim):
        attention += _linear(inputs, outputs, tokens)
    return total + attention


def _bottleneck(inputs: int, planes: int, side: int, stride: int) -> ModelSize:
    after = side // stride
    total = _conv(inputs, planes, 1, side) + _conv(planes, planes, 3, side) + _conv(planes, 4 * planes, 1, after)
    return total + _conv(inputs, 4 * planes, 1, after) if stride > 1 or inputs != 4 * planes else total


def _side(config: Description) -> int:
    size = config.get("image_size", 224)
    return int(size if isinstance(size, int) else size[0])
