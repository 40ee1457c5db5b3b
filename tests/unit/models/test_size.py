"""Parameters and operations counted from JSON, against the models themselves."""

import open_clip
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bdray.models.clip import Model
from bdray.models.size import model_size, size_of

OWN = ("scenes-rn6", "scenes-rn8", "scenes-rn12", "scenes-rn", "scenes-rn24")


@pytest.mark.parametrize("name", [*OWN, "RN50", "ViT-B-32"])
def test_counts_are_those_of_the_model(name: str) -> None:
    description = Model(architecture=name).description()
    counted = model_size(description)
    fields = {key: value for key, value in description.items() if key != "vocabulary"}
    with torch.device("meta"):  # shapes without numbers
        model = open_clip.CLIP(**fields).eval()
        image = torch.zeros(1, 3, fields["vision_cfg"]["image_size"], fields["vision_cfg"]["image_size"])
        text = torch.zeros(1, fields["text_cfg"]["context_length"], dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            model(image, text)
    assert counted is not None
    assert counted.parameters == sum(parameter.numel() for parameter in model.parameters())
    # Of convolutions, products and attention; exactly as torch counts them.
    assert counted.flops == counter.get_total_flops()


def test_wider_is_more() -> None:
    sizes = [model_size(Model(architecture=name).description()) for name in OWN]
    counted = [(size.parameters, size.flops) for size in sizes if size]
    assert counted == sorted(counted)
    assert len(counted) == len(OWN)


def test_towers_whose_json_does_not_tell_their_layers_are_not_guessed() -> None:
    description = Model().description()
    tower = {**description, "vision_cfg": {"timm_model_name": "convnext_tiny", "image_size": 32}}
    assert model_size(tower) is None


def test_towers_of_timm_are_counted_by_torch() -> None:
    # EVA-02 base by hand: 12 blocks of width 768 on 197 tokens, four projections, a SwiGLU of 2048, and attention.
    tokens, width, hidden = 197, 768, 2048
    block = 2 * tokens * (4 * width**2 + 3 * width * hidden) + 4 * tokens**2 * width
    stem, head = 2 * 196 * 3 * 16**2 * width, 2 * width * 512
    # Its text tower is that of ViT-B/32, without whose image tower nothing but this is left.
    text = 12 * (2 * 77 * 12 * 512**2 + 4 * 77**2 * 512) + 2 * 512 * 512
    assert size_of(Model(architecture="EVA02-B-16")).flops == 12 * block + stem + head + text
