"""The 80 prompt templates and the class names that OpenAI published with CLIP for ImageNet."""

from functools import cache

PLACE = "{}"


@cache
def openai_imagenet() -> tuple[str, ...]:
    """Templates with one ``{}`` for the class name, as open_clip ships them."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(template(PLACE) for template in OPENAI_IMAGENET_TEMPLATES)


@cache
def openai_imagenet_classes() -> tuple[str, ...]:
    """Names of ImageNet's 1000 classes in the order of their wnids, as open_clip ships them; two names come twice."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return tuple(IMAGENET_CLASSNAMES)
